//! Tables in the Glue catalog. Follows Glue `GetDatabase`, `CreateDatabase`, `GetTable`, `CreateTable` and `UpdateTable`.

use aws_sdk_glue::Client;
use aws_sdk_glue::types::{Column, DatabaseInput, SerDeInfo, StorageDescriptor, Table, TableInput};
use serde::Serialize;

use super::base::BaseSession;
use super::retry::retried;
use crate::config::Limits;
use crate::ddl::{GlueColumn, GlueTable};
use crate::model::{Cause, CauseKind, Region};

/// What became of a database or table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Registered {
    /// It was not there.
    Created,
    /// It was there with other columns, place or parameters.
    Updated,
    /// It was there as it should be.
    Unchanged,
}

/// Makes the catalog hold the tables, and says of each, by name, what was done. The database comes first.
///
/// # Errors
/// The cause of the first call that failed for good, with a hint at the permission; what was done before it stays.
pub async fn register_tables(
    base: &BaseSession,
    region: &Region,
    database: &str,
    tables: &[GlueTable],
    limits: &Limits,
) -> Result<Vec<(String, Registered)>, Cause> {
    let catalog = Catalog {
        client: Client::new(&base.sdk(region, base.credentials())),
        database: database.to_owned(),
        attempts: limits.attempts,
    };
    let mut done = vec![(
        database.to_owned(),
        catalog.database().await.map_err(hinted)?,
    )];
    for table in tables {
        done.push((
            table.name.clone(),
            Box::pin(catalog.table(table)).await.map_err(hinted)?,
        ));
    }
    Ok(done)
}

struct Catalog {
    client: Client,
    database: String,
    attempts: u32,
}

impl Catalog {
    async fn database(&self) -> Result<Registered, Cause> {
        let there = retried("GetDatabase", self.attempts, || {
            self.client.get_database().name(&self.database).send()
        });
        if found(there.await)?.is_some() {
            return Ok(Registered::Unchanged);
        }
        let input = DatabaseInput::builder()
            .name(&self.database)
            .description("CloudWatch data exported by cwlake")
            .build()
            .map_err(|e| Cause::new(CauseKind::Other, format!("CreateDatabase: {e}")))?;
        retried("CreateDatabase", self.attempts, || {
            self.client
                .create_database()
                .database_input(input.clone())
                .send()
        })
        .await?;
        Ok(Registered::Created)
    }

    async fn table(&self, table: &GlueTable) -> Result<Registered, Cause> {
        let there = retried("GetTable", self.attempts, || {
            self.client
                .get_table()
                .database_name(&self.database)
                .name(&table.name)
                .send()
        });
        let there = found(there.await)?.and_then(|answer| answer.table);
        let input = input(table)?;
        match there {
            None => {
                retried("CreateTable", self.attempts, || {
                    self.client
                        .create_table()
                        .database_name(&self.database)
                        .table_input(input.clone())
                        .send()
                })
                .await?;
                Ok(Registered::Created)
            }
            Some(there) if is_same(&there, table) => Ok(Registered::Unchanged),
            Some(there) => {
                // What others keep in the table's parameters stays.
                let mut kept = match &table.view {
                    // A table that becomes a view keeps nothing of where its files lie.
                    Some(_) => std::collections::HashMap::new(),
                    None => there.parameters.unwrap_or_default(),
                };
                kept.extend(table.parameters.clone());
                let mut input = input;
                input.parameters = Some(kept);
                retried("UpdateTable", self.attempts, || {
                    self.client
                        .update_table()
                        .database_name(&self.database)
                        .table_input(input.clone())
                        .send()
                })
                .await?;
                Ok(Registered::Updated)
            }
        }
    }
}

/// What is not there is no failure.
fn found<T>(answer: Result<T, Cause>) -> Result<Option<T>, Cause> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(cause) if cause.is("EntityNotFoundException") => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// Columns, keys and place are ours; parameters that others have added do not count.
fn is_same(there: &Table, table: &GlueTable) -> bool {
    let same = |there: &[Column], ours: &[GlueColumn]| {
        there.len() == ours.len()
            && there
                .iter()
                .zip(ours)
                .all(|(t, o)| t.name() == o.name && t.r#type() == Some(o.kind.as_str()))
    };
    let Some(storage) = there.storage_descriptor() else {
        return false;
    };
    let parameter = |key: &str| there.parameters().and_then(|p| p.get(key));
    same(storage.columns(), &table.columns)
        && same(there.partition_keys(), &table.partition_keys)
        && storage.location().unwrap_or_default() == table.location
        && there.view_original_text() == table.view.as_deref()
        && there.table_type() == Some(table.table_type())
        && table
            .parameters
            .iter()
            .all(|(key, value)| parameter(key) == Some(value))
}

fn input(table: &GlueTable) -> Result<TableInput, Cause> {
    let broken = |e: &dyn std::fmt::Display| {
        Cause::new(CauseKind::Other, format!("describing a table: {e}"))
    };
    let columns = |list: &[GlueColumn]| -> Result<Vec<Column>, Cause> {
        list.iter()
            .map(|c| {
                let column = Column::builder().name(&c.name).r#type(&c.kind);
                column.build().map_err(|e| broken(&e))
            })
            .collect()
    };
    let storage = StorageDescriptor::builder()
        .set_columns(Some(columns(&table.columns)?))
        .location(&table.location);
    if let Some(view) = &table.view {
        return TableInput::builder()
            .name(&table.name)
            .table_type(table.table_type())
            .set_parameters(Some(table.parameters.clone().into_iter().collect()))
            .set_partition_keys(Some(Vec::new()))
            .storage_descriptor(storage.build())
            .view_original_text(view)
            .view_expanded_text(GlueTable::EXPANDED_VIEW)
            .build()
            .map_err(|e| broken(&e));
    }
    let storage = storage
        .input_format(GlueTable::INPUT_FORMAT)
        .output_format(GlueTable::OUTPUT_FORMAT)
        .serde_info(
            SerDeInfo::builder()
                .serialization_library(GlueTable::SERDE)
                .build(),
        )
        .build();
    TableInput::builder()
        .name(&table.name)
        .table_type(table.table_type())
        .set_parameters(Some(table.parameters.clone().into_iter().collect()))
        .set_partition_keys(Some(columns(&table.partition_keys)?))
        .storage_descriptor(storage)
        .build()
        .map_err(|e| broken(&e))
}

fn hinted(cause: Cause) -> Cause {
    match cause.kind {
        CauseKind::AccessDenied if cause.hint.is_none() => cause.with_hint(
            "allow glue:GetDatabase, CreateDatabase, GetTable, CreateTable and UpdateTable on the catalog, the database and its tables",
        ),
        _ => cause,
    }
}
