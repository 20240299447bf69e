use dbtest_factory::Factory;

#[derive(Factory)]
struct Author {
    id: i64,
    #[factory(required)]
    name: String,
}

#[derive(Factory)]
struct Book {
    #[factory(belongs_to = Author)]
    author_id: i64,
}

fn main() {}
