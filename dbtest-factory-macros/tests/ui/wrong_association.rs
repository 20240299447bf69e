use dbtest_factory::Factory;

#[derive(Factory)]
struct Author {
    id: i64,
}

#[derive(Factory)]
struct Publisher {
    id: i64,
}

#[derive(Factory)]
#[factory(has_many(chapters = Chapter, by = book_id))]
struct Book {
    id: i64,
    #[factory(belongs_to = Author)]
    author_id: i64,
}

#[derive(Factory)]
struct Chapter {
    #[factory(belongs_to = Book)]
    book_id: i64,
}

fn main() {
    let publisher = Publisher::factory().build();
    Book::factory().author(&publisher);
    Book::factory().author(Publisher::factory());
    Book::factory().chapters([Author::factory()]);
}
