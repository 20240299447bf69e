//! The tables, as Diesel knows them.

#![allow(missing_docs, unreachable_pub)]

diesel::table! {
    list (id) {
        id -> BigInt,
        name -> Text,
    }
}

diesel::table! {
    priority (code) {
        code -> Text,
        weight -> BigInt,
    }
}

diesel::table! {
    item (id) {
        id -> BigInt,
        list_id -> BigInt,
        title -> Text,
        priority -> Text,
        done -> Bool,
        remind_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    activity (id) {
        id -> BigInt,
        item_id -> BigInt,
        what -> Text,
    }
}

diesel::joinable!(item -> priority (priority));
diesel::allow_tables_to_appear_in_same_query!(item, priority);
