use super::*;

#[test]
fn there_are_as_many_connections_as_were_in_use_at_once() {
    let connections = Connections::default();
    let two = (connections.take(), connections.take());
    drop(two);
    assert_eq!(lock(&connections.idle).len(), 2);
    for _ in 0..3 {
        drop(connections.take());
    }
    assert_eq!(lock(&connections.idle).len(), 2);
}
