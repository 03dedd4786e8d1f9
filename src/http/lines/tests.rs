use super::*;

#[test]
fn there_are_as_many_lines_as_were_in_use_at_once() {
    let lines = Lines::default();
    let two = (lines.take(), lines.take());
    drop(two);
    assert_eq!(lock(&lines.idle).len(), 2);
    for _ in 0..3 {
        drop(lines.take());
    }
    assert_eq!(lock(&lines.idle).len(), 2);
}
