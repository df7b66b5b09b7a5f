//! Customers, in a process of their own: `bookshop customers ADDRESS REQUESTS`.

use std::error::Error;

/// Each of them asks for one thing after the other; all of them make so many requests.
const CUSTOMERS: usize = 4;

pub async fn visit(shop: &str, requests: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
    let client = reqwest::Client::new();
    let visits = (0..CUSTOMERS).map(|customer| {
        let (client, shop) = (client.clone(), shop.to_owned());
        tokio::spawn(async move {
            for n in (customer..requests).step_by(CUSTOMERS) {
                let id = n % 400 + 1;
                let request = match n % 10 {
                    0 => client.get(format!("http://{shop}/report")),
                    1 | 2 => client.get(format!("http://{shop}/covers/{id}")),
                    3 | 4 => {
                        let order = format!("{{\"book\":{id},\"copies\":2}}");
                        let request = client.post(format!("http://{shop}/orders")).body(order);
                        request.header("content-type", "application/json")
                    }
                    5 | 6 => client.get(format!("http://{shop}/books")),
                    _ => client.get(format!("http://{shop}/books/{id}")),
                };
                request.send().await?.error_for_status()?.bytes().await?;
            }
            Ok::<(), reqwest::Error>(())
        })
    });
    for visit in visits.collect::<Vec<_>>() {
        visit.await??;
    }
    Ok(())
}
