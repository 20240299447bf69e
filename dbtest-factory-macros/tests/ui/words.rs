use dbtest_factory::Factory;

#[derive(Factory)]
#[factory(sqlx(postgres))]
struct NoTable {
    id: i64,
}

#[derive(Factory)]
#[factory(sqlx, table = "t")]
struct NoEngine {
    id: i64,
}

#[derive(Factory)]
struct Words {
    #[factory(defualt = 7)]
    id: i64,
}

#[derive(Factory)]
struct Twice {
    #[factory(default = 7, sequence = |n| n)]
    id: u64,
}

#[derive(Factory)]
struct Category {
    #[factory(belongs_to = Category)]
    category_id: i64,
}

#[derive(Factory)]
struct Item {
    #[factory(belongs_to = Priority)]
    priority: String,
}

#[derive(Factory)]
#[factory(has_many(books = Book))]
struct Author {
    id: i64,
}

#[derive(Factory)]
#[factory(many_to_many(tags = Tag, through = BookTag))]
struct Book {
    id: i64,
}

#[derive(Factory)]
#[factory(variant(create, id = 7))]
struct Taken {
    id: i64,
}

#[derive(Factory)]
enum Choice {
    One,
}

#[derive(Factory)]
struct Pair(i64, i64);

fn main() {}
