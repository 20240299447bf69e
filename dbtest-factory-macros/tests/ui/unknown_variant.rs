use dbtest_factory::Factory;

#[derive(Factory)]
#[factory(variant(admin, role = "admin"))]
struct User {
    role: String,
}

#[derive(Factory)]
#[factory(variant(admin, rolle = "admin"))]
struct Other {
    role: String,
}

fn main() {
    User::factory().admn().build();
}
