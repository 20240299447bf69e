use dbtest_factory::Factory;

#[derive(Factory)]
struct Book {
    title: String,
    pages: i64,
    #[factory(default = 7)]
    subtitle: String,
}

fn main() {
    Book::factory().pages("many").build();
}
