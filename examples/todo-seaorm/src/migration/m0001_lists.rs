use sea_orm::ActiveValue::Set;
use sea_orm::EntityTrait;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_pk_auto, boolean, string, string_uniq};

use crate::entity::priority;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let list = Table::create().table("list").col(big_pk_auto("id")).col(string_uniq("name")).take();
        manager.create_table(list).await?;

        // A reference table: its rows belong to the schema, and every test finds them.
        let priority = Table::create()
            .table("priority")
            .col(string("code").primary_key())
            .col(big_integer("weight"))
            .take();
        manager.create_table(priority).await?;
        let rows = [("low", 1), ("normal", 2), ("high", 5)]
            .map(|(code, weight)| priority::ActiveModel { code: Set(code.to_owned()), weight: Set(weight) });
        priority::Entity::insert_many(rows).exec(manager.get_connection()).await?;

        let item = Table::create()
            .table("item")
            .col(big_pk_auto("id"))
            .col(big_integer("list_id"))
            .col(string("title"))
            .col(string("priority").default("normal"))
            .col(boolean("done").default(false))
            .foreign_key(
                ForeignKey::create()
                    .from("item", "list_id")
                    .to("list", "id")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .foreign_key(ForeignKey::create().from("item", "priority").to("priority", "code"))
            .index(Index::create().unique().name("item_title").col("list_id").col("title"))
            .take();
        manager.create_table(item).await?;

        // What happened, written in the same transaction as the thing itself.
        let activity = Table::create()
            .table("activity")
            .col(big_pk_auto("id"))
            .col(big_integer("item_id"))
            .col(string("what"))
            .foreign_key(
                ForeignKey::create()
                    .from("activity", "item_id")
                    .to("item", "id")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .take();
        manager.create_table(activity).await?;
        manager
            .create_index(Index::create().name("activity_by_item").table("activity").col("item_id").take())
            .await
    }
}
