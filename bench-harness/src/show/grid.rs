//! A grid of text: aligned columns, cut into blocks where the terminal ends.
//!
//! Owns: widths and padding. Promises: nothing is cut off; a grid that is too wide goes on below, with its first column
//! repeated. Refuses to know: what the cells mean.

/// Columns between which a terminal keeps lines whole.
pub const WIDTH_MAX: usize = 140;

/// Rows under a head; the first column names the row.
pub struct Grid {
    head: Vec<String>,
    /// By column: it stands beside the one before it, whatever happens.
    glued: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// No columns yet but the first.
    pub fn new(first: &str) -> Grid {
        Grid { head: vec![first.into()], glued: vec![false], rows: Vec::new() }
    }

    /// One more column.
    pub fn column(&mut self, head: &str) {
        self.head.push(head.into());
        self.glued.push(false);
    }

    /// One more column, which says something about the one before it.
    pub fn column_beside(&mut self, head: &str) {
        self.head.push(head.into());
        self.glued.push(true);
    }

    /// One more row, as wide as the head.
    pub fn push(&mut self, row: Vec<String>) {
        assert_eq!(row.len(), self.head.len(), "a row of a grid has a cell for each column");
        self.rows.push(row);
    }

    /// Whether no column has to go on below.
    pub fn fits(&self, width_max: usize) -> bool {
        let more: usize = (1..self.head.len()).map(|column| 2 + self.width(column)).sum();
        self.width(0) + more <= width_max
    }

    /// As lines of at most `width_max`, if a column and what is beside it fit into that.
    pub fn text(&self, width_max: usize) -> String {
        let widths: Vec<usize> = (0..self.head.len()).map(|column| self.width(column)).collect();
        let mut out = String::new();
        let mut next = 1;
        while next < widths.len() || out.is_empty() {
            let begin = next;
            let mut width = widths[0];
            while next < widths.len() {
                let beside = self.glued[next + 1..].iter().take_while(|glued| **glued).count();
                let more: usize = widths[next..=next + beside].iter().map(|column| 2 + column).sum();
                if next > begin && width + more > width_max {
                    break;
                }
                width += more;
                next += 1 + beside;
            }
            if begin > 1 {
                out.push('\n');
            }
            for row in std::iter::once(&self.head).chain(&self.rows) {
                let mut line = format!("{:<1$}", row[0], widths[0]);
                for column in begin..next {
                    line += &format!("  {:>1$}", row[column], widths[column]);
                }
                out.push_str(line.trim_end());
                out.push('\n');
            }
        }
        out
    }

    fn width(&self, column: usize) -> usize {
        let cells = std::iter::once(&self.head).chain(&self.rows).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let mut grid = Grid::new("name");
        grid.column("a");
        grid.column("bb");
        grid.push(["x", "1000", "2"].map(String::from).into());
        grid
    }

    #[test]
    fn aligned() {
        assert_eq!(grid().text(80), "name     a  bb\nx     1000   2\n");
    }

    #[test]
    fn what_does_not_fit_goes_below() {
        assert_eq!(grid().text(14), "name     a  bb\nx     1000   2\n");
        assert!(grid().fits(14) && !grid().fits(13));
        assert_eq!(grid().text(13), "name     a\nx     1000\n\nname  bb\nx      2\n");
        assert_eq!(grid().text(1), grid().text(13));
        assert_eq!(Grid::new("name").text(1), "name\n");
    }

    #[test]
    fn what_belongs_together_stays_together() {
        let mut grid = Grid::new("n");
        grid.column("a");
        grid.column("b");
        grid.column_beside("c");
        assert_eq!(grid.text(10), "n  a  b  c\n");
        assert_eq!(grid.text(9), "n  a\n\nn  b  c\n");
        assert_eq!(grid.text(1), grid.text(9));
    }
}
