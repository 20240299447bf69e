use dbtest_factory::Factory;

#[derive(Factory)]
struct Ticket {
    #[factory(required)]
    title: String,
    #[factory(required)]
    holder: i64,
}

fn main() {
    Ticket::factory().title("Dune").build();
}
