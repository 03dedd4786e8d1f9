use super::*;

async fn all(lines: &Lines) -> Vec<OwnedSemaphorePermit> {
    let mut held = Vec::new();
    for _ in 0..AT_ONCE {
        held.push(lines.take().await);
    }
    held
}

#[tokio::test]
async fn beyond_the_first_few_one_is_taken_that_becomes_free() {
    let lines = Lines::with_patience(Duration::from_hours(1));
    let mut held = all(&lines).await;
    let (next, ()) = tokio::join!(lines.take(), async { drop(held.pop()) });
    assert_eq!(lines.free.available_permits(), 0);
    drop((next, held));
    assert_eq!(lines.free.available_permits(), AT_ONCE);
}

#[tokio::test]
async fn where_none_becomes_free_in_time_there_is_one_more() {
    let lines = Lines::with_patience(Duration::from_millis(1));
    let held = all(&lines).await;
    let next = lines.take().await;
    drop((held, next));
    assert_eq!(lines.free.available_permits(), AT_ONCE + 1);
}

#[tokio::test]
async fn where_there_was_a_need_of_more_for_long_nobody_waits() {
    let lines = Lines::with_patience(Duration::from_hours(1));
    let _held = all(&lines).await;
    *lines.short_since() = Instant::now().checked_sub(Duration::from_hours(2));
    let next = tokio::time::timeout(Duration::from_secs(20), lines.take()).await;
    assert!(next.is_ok(), "no wait");
}
