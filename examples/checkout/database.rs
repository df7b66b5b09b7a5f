//! The shop's database: SQLite in a temporary file, behind a small pool.

use rusqlite::{
    Connection, OptionalExtension, Params, Row, TransactionBehavior, params, params_from_iter,
};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use tracing::info_span;

const PRODUCTS: u32 = 500;
/// Orders that exist from the start, numbered from 1.
pub(crate) const FIRST_ORDERS: u32 = 50;

/// A pool of connections. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Database {
    pool: Arc<Pool>,
}

struct Pool {
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
    /// Removes the file at the end; after the connections are closed.
    _directory: Directory,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OrderLine {
    pub(crate) sku: String,
    pub(crate) quantity: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NewOrder {
    pub(crate) customer: String,
    pub(crate) lines: Vec<OrderLine>,
}

#[derive(Debug, Serialize)]
pub(crate) struct PricedLine {
    pub(crate) sku: String,
    pub(crate) title: String,
    pub(crate) quantity: u32,
    pub(crate) cents: i64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) customer: String,
    pub(crate) cents: i64,
    pub(crate) lines: Vec<PricedLine>,
}

/// A directory of this process, which goes with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("checkout-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Directory(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left of it is the system's to tidy up.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Database {
    /// Makes and fills the database.
    pub(crate) async fn open(connections: usize) -> rusqlite::Result<Self> {
        let directory =
            Directory::new().map_err(|_| rusqlite::Error::InvalidPath("TMPDIR".into()))?;
        let path = directory.0.join("shop.sqlite");
        let connect = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(&path)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            connection.busy_timeout(std::time::Duration::from_secs(5))?;
            Ok(connection)
        };
        fill(&mut connect()?)?;
        let idle = (0..connections)
            .map(|_| connect())
            .collect::<Result<_, _>>()?;
        Ok(Database {
            pool: Arc::new(Pool {
                idle: Mutex::new(idle),
                permits: Semaphore::new(connections),
                _directory: directory,
            }),
        })
    }

    /// Runs `work` on a blocking thread, in a span inside the unit that asks for it. Until the thread is at work, and after
    /// that, the unit waits for the pool.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> rusqlite::Result<T> {
        let _waits = telemetry::call!("db.pool");
        let pool = Arc::clone(&self.pool);
        let Ok(_permit) = self.pool.permits.acquire().await else {
            return Err(rusqlite::Error::InvalidQuery);
        };
        let span = info_span!("database");
        let task = tokio::task::spawn_blocking(move || {
            span.in_scope(|| {
                let lock = || pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
                let mut connection = lock().pop().ok_or(rusqlite::Error::InvalidQuery)?;
                let result = work(&mut connection);
                lock().push(connection);
                result
            })
        });
        task.await.unwrap_or(Err(rusqlite::Error::InvalidQuery))
    }
}

fn fill(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE product (sku TEXT PRIMARY KEY, title TEXT NOT NULL, cents INTEGER NOT NULL);
         CREATE TABLE coupon (code TEXT PRIMARY KEY, percent INTEGER NOT NULL);
         CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, cents INTEGER NOT NULL,
                              settled INTEGER NOT NULL DEFAULT 0);
         CREATE TABLE line (order_id INTEGER NOT NULL, sku TEXT NOT NULL, quantity INTEGER NOT NULL,
                            cents INTEGER NOT NULL);
         CREATE INDEX line_order ON line (order_id);
         INSERT INTO coupon VALUES ('SPRING', 10), ('AUTUMN', 15);",
    )?;
    let transaction = connection.transaction()?;
    for n in 0..PRODUCTS {
        transaction.execute(
            "INSERT INTO product VALUES (?1, ?2, ?3)",
            params![sku(n), format!("Article number {n} of the shop"), 100 + n],
        )?;
    }
    transaction.commit()?;
    for n in 0..FIRST_ORDERS {
        let order = NewOrder {
            customer: format!("customer-{n}"),
            lines: (0..1 + n % 20)
                .map(|line| OrderLine {
                    sku: sku(n + line),
                    quantity: 1,
                })
                .collect(),
        };
        place_order(connection, &order)?;
    }
    Ok(())
}

pub(crate) fn sku(n: u32) -> String {
    format!("SKU-{:04}", n % PRODUCTS)
}

/// One statement that returns rows: one call across the boundary `db.query`.
fn query<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    mut each: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let call = telemetry::call!("db.query");
    call.sent(sql.len() as u64);
    let mut statement = connection.prepare_cached(sql)?;
    let columns = statement.column_count();
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let bytes = (0..columns).map(|column| match row.get_ref(column) {
            Ok(rusqlite::types::ValueRef::Text(text)) => text.len() as u64,
            _ => 8,
        });
        call.received(bytes.sum());
        found.push(each(row)?);
    }
    Ok(found)
}

/// One statement that changes rows: one call across the boundary `db.write`.
fn write(connection: &Connection, sql: &str, parameters: impl Params) -> rusqlite::Result<usize> {
    let call = telemetry::call!("db.write");
    call.sent(sql.len() as u64);
    connection.prepare_cached(sql)?.execute(parameters)
}

/// Prices and stores an order: one query for all prices, one statement for all lines.
pub(crate) fn place_order(connection: &mut Connection, new: &NewOrder) -> rusqlite::Result<Order> {
    // A transaction that reads first and writes later cannot wait for the lock in between; ours
    // takes it at once. (With the default, a quarter of all orders failed as "locked": the error
    // column of the table showed it.)
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let marks = vec!["?"; new.lines.len()].join(",");
    let sql = format!("SELECT sku, title, cents FROM product WHERE sku IN ({marks})");
    let skus = params_from_iter(new.lines.iter().map(|line| &line.sku));
    let prices = query(&transaction, &sql, skus, |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, i64>(2)?,
        ))
    })?;
    let lines: Vec<PricedLine> = new
        .lines
        .iter()
        .filter_map(|line| {
            let (_, title, cents) = prices.iter().find(|(sku, _, _)| *sku == line.sku)?;
            Some(PricedLine {
                sku: line.sku.clone(),
                title: title.clone(),
                quantity: line.quantity,
                cents: cents * i64::from(line.quantity),
            })
        })
        .collect();
    let cents = lines.iter().map(|line| line.cents).sum();
    write(
        &transaction,
        "INSERT INTO orders (customer, cents) VALUES (?1, ?2)",
        params![new.customer, cents],
    )?;
    let id = transaction.last_insert_rowid();
    if !lines.is_empty() {
        let values = vec!["(?,?,?,?)"; lines.len()].join(",");
        let figures = lines.iter().flat_map(|line| {
            let text: [Box<dyn rusqlite::ToSql>; 4] = [
                Box::new(id),
                Box::new(line.sku.clone()),
                Box::new(line.quantity),
                Box::new(line.cents),
            ];
            text
        });
        write(
            &transaction,
            &format!("INSERT INTO line (order_id, sku, quantity, cents) VALUES {values}"),
            params_from_iter(figures),
        )?;
    }
    transaction.commit()?;
    Ok(Order {
        id,
        customer: new.customer.clone(),
        cents,
        lines,
    })
}

/// An order with its lines: two queries, however many lines.
pub(crate) fn order(connection: &mut Connection, id: i64) -> rusqlite::Result<Option<Order>> {
    let Some(mut order) = order_head(connection, id)? else {
        return Ok(None);
    };
    order.lines = query(
        connection,
        "SELECT line.sku, product.title, line.quantity, line.cents
         FROM line JOIN product ON product.sku = line.sku WHERE order_id = ?1",
        [id],
        |row| {
            Ok(PricedLine {
                sku: row.get(0)?,
                title: row.get(1)?,
                quantity: row.get(2)?,
                cents: row.get(3)?,
            })
        },
    )?;
    Ok(Some(order))
}

/// The same with one more query for each line: what an innocent loop over an ORM's objects does.
pub(crate) fn order_line_by_line(
    connection: &mut Connection,
    id: i64,
) -> rusqlite::Result<Option<Order>> {
    let Some(mut order) = order_head(connection, id)? else {
        return Ok(None);
    };
    let lines = query(
        connection,
        "SELECT sku, quantity, cents FROM line WHERE order_id = ?1",
        [id],
        |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)),
    )?;
    for (sku, quantity, cents) in lines {
        let titles = query(
            connection,
            "SELECT title FROM product WHERE sku = ?1",
            [&sku],
            |row| row.get::<_, String>(0),
        )?;
        order.lines.push(PricedLine {
            sku,
            title: titles.into_iter().next().unwrap_or_default(),
            quantity,
            cents,
        });
    }
    Ok(Some(order))
}

fn order_head(connection: &Connection, id: i64) -> rusqlite::Result<Option<Order>> {
    let found = query(
        connection,
        "SELECT id, customer, cents FROM orders WHERE id = ?1",
        [id],
        |row| {
            Ok(Order {
                id: row.get(0)?,
                customer: row.get(1)?,
                cents: row.get(2)?,
                lines: Vec::new(),
            })
        },
    )?;
    Ok(found.into_iter().next())
}

/// Every line of the last orders as text, sorted in memory: the slow path.
pub(crate) fn report(connection: &mut Connection) -> rusqlite::Result<String> {
    let mut rows = query(
        connection,
        "SELECT orders.customer, line.sku, line.quantity, line.cents
         FROM line JOIN orders ON orders.id = line.order_id ORDER BY line.order_id DESC LIMIT 3000",
        [],
        |row| {
            let (customer, sku): (String, String) = (row.get(0)?, row.get(1)?);
            let (quantity, cents): (u32, i64) = (row.get(2)?, row.get(3)?);
            Ok(format!("{customer};{sku};{quantity};{cents}"))
        },
    )?;
    rows.sort_by_key(|row| row.to_lowercase());
    Ok(rows.join("\n"))
}

pub(crate) fn coupon(connection: &mut Connection, code: &str) -> rusqlite::Result<Option<u32>> {
    let found = query(
        connection,
        "SELECT percent FROM coupon WHERE code = ?1",
        [code],
        |row| row.get(0),
    )?;
    Ok(found.into_iter().next())
}

/// Marks the orders that are not settled; returns how many.
pub(crate) fn settle(connection: &mut Connection) -> rusqlite::Result<usize> {
    let open = telemetry::call!("db.query");
    let id: Option<i64> = connection
        .prepare_cached("SELECT max(id) FROM orders WHERE settled = 0 AND id > (SELECT max(id) FROM orders) - 1000")?
        .query_row([], |row| row.get(0))
        .optional()?
        .flatten();
    open.received(8);
    match id {
        Some(id) => write(
            connection,
            "UPDATE orders SET settled = 1 WHERE settled = 0 AND id <= ?1 AND id > ?1 - 1000",
            [id],
        ),
        None => Ok(0),
    }
}
