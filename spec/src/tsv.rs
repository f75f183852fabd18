//! Tab-separated rows that know where they came from, so that every complaint names a file and a line.

use std::{error::Error, fmt, str::FromStr};

/// What is wrong with a table, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableError {
    /// The table's file name.
    pub file: &'static str,
    /// The line, from 1; 0 if it is not about a line.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.problem)
    }
}

impl Error for TableError {}

/// One row, its cells taken from left to right.
#[derive(Clone, Debug)]
pub(crate) struct Row<'a> {
    file: &'static str,
    pub(crate) line: usize,
    cells: std::str::Split<'a, char>,
    columns: std::slice::Iter<'a, &'static str>,
}

/// The rows of a table. The first line must be `# ` and the column names.
pub(crate) fn rows<'a>(
    file: &'static str,
    text: &'a str,
    columns: &'a [&'static str],
) -> Result<Vec<Row<'a>>, TableError> {
    let header = format!("# {}", columns.join("\t"));
    if text.lines().next() != Some(header.as_str()) {
        return Err(TableError { file, line: 1, problem: format!("the first line must be {header:?}") });
    }
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate().skip(1) {
        let row = Row { file, line: index + 1, cells: line.split('\t'), columns: columns.iter() };
        let count = row.cells.clone().count();
        if count != columns.len() {
            return Err(row.error(format!("{count} columns instead of {}", columns.len())));
        }
        rows.push(row);
    }
    Ok(rows)
}

impl<'a> Row<'a> {
    /// The next cell; it may not be empty.
    pub(crate) fn cell(&mut self) -> Result<&'a str, TableError> {
        let (Some(cell), Some(column)) = (self.cells.next(), self.columns.next()) else {
            return Err(self.error("too few columns"));
        };
        if cell.is_empty() || cell.trim() != cell {
            return Err(self.error(format!("column {column:?} is empty or padded; write - for nothing")));
        }
        Ok(cell)
    }

    /// The next cell, if it is not `-`.
    pub(crate) fn optional(&mut self) -> Result<Option<&'a str>, TableError> {
        self.cell().map(|cell| (cell != "-").then_some(cell))
    }

    /// The next cell as a name: lower case, digits and hyphens.
    pub(crate) fn name(&mut self) -> Result<String, TableError> {
        let cell = self.cell()?;
        let legal = cell.starts_with(|first: char| first.is_ascii_lowercase())
            && cell.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-');
        if legal { Ok(cell.to_owned()) } else { Err(self.error(format!("{cell:?} is not a name"))) }
    }

    /// The next cell as a number.
    pub(crate) fn number<T: FromStr>(&mut self) -> Result<T, TableError> {
        let cell = self.cell()?;
        cell.parse().map_err(|_| self.error(format!("{cell:?} is not a number in range")))
    }

    /// The next cell as a list separated by commas; `-` is the empty list.
    pub(crate) fn list(&mut self) -> Result<Vec<String>, TableError> {
        Ok(self.optional()?.map(|cell| cell.split(',').map(str::to_owned).collect()).unwrap_or_default())
    }

    /// The next cell as a sentence: it ends with a full stop.
    pub(crate) fn sentence(&mut self) -> Result<String, TableError> {
        let cell = self.cell()?;
        if cell.len() > 1 && cell.ends_with('.') {
            return Ok(cell.to_owned());
        }
        Err(self.error(format!("{cell:?} is not a sentence with a full stop")))
    }

    /// The next cell as one of these words.
    pub(crate) fn word<T: Copy>(&mut self, words: &[(&str, T)]) -> Result<T, TableError> {
        let cell = self.cell()?;
        let known = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let found = words.iter().find(|(word, _)| *word == cell).map(|(_, value)| *value);
        found.ok_or_else(|| self.error(format!("{cell:?} is none of {}", known())))
    }

    /// The next cells must all be `-`.
    pub(crate) fn nothing(&mut self, cells: usize) -> Result<(), TableError> {
        for _ in 0..cells {
            if let Some(cell) = self.optional()? {
                return Err(self.error(format!("{cell:?} where - belongs")));
            }
        }
        Ok(())
    }

    /// An error about this row.
    pub(crate) fn error(&self, problem: impl Into<String>) -> TableError {
        TableError { file: self.file, line: self.line, problem: problem.into() }
    }
}
