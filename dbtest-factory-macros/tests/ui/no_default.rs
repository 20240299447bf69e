use dbtest_factory::Factory;

#[derive(Clone)]
struct Colour;

#[derive(Factory)]
struct Pen {
    name: String,
    colour: Colour,
}

fn main() {}
