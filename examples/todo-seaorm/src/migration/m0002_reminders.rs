use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::big_integer_null;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let item = Table::alter().table("item").add_column(big_integer_null("remind_at")).take();
        manager.alter_table(item).await?;
        let to_remind = Index::create()
            .name("item_to_remind")
            .table("item")
            .col("remind_at")
            .and_where(Expr::col("remind_at").is_not_null())
            .take();
        manager.create_index(to_remind).await
    }
}
