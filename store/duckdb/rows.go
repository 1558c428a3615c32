package duckdb

import (
	"database/sql"
	"database/sql/driver"
	"fmt"

	duckdb "github.com/duckdb/duckdb-go/v2"
)

// load writes the rows of b within the transaction that conn has open. This
// file is the whole load path.
func (b *batch) load(conn *sql.Conn) error {
	return conn.Raw(func(c any) error {
		connection := c.(driver.Conn)
		if err := appendRows(connection, b.SessionTable, b.SessionParts(), len(b.sessions), b.sessionRow); err != nil {
			return fmt.Errorf("load sessions: %w", err)
		}
		if err := appendRows(connection, b.EventTable, b.EventParts(), len(b.records), b.eventRow); err != nil {
			return fmt.Errorf("load events: %w", err)
		}
		return nil
	})
}

// sessionRow appends the values for SessionParts of new session i.
func (b *batch) sessionRow(dst []driver.Value, i int) []driver.Value {
	s := &b.sessions[i]
	dst = append(dst, s.number, s.sender, s.record.Hyphens)
	for i, c := range b.session {
		dst = c.appendValue(dst, s.record.Session[i])
	}
	return dst
}

// eventRow appends the values for EventParts of record i.
func (b *batch) eventRow(dst []driver.Value, i int) []driver.Value {
	r := &b.records[i]
	dst = append(dst, b.firstRow+int64(i), b.of[i])
	if r.Insert.Own {
		dst = append(dst, r.Insert.Seq, nil)
	} else {
		dst = append(dst, nil, duckdb.UUID(r.Insert.Foreign))
	}
	dst = append(dst, r.Time, r.Received, uint8(r.Event))
	for i, c := range b.own {
		dst = c.appendValue(dst, r.Own[i])
	}
	return dst
}

// appendRows appends n rows to the named columns of table. The others are null:
// a plan may have been extended by a column that lies elsewhere in the table.
func appendRows(conn driver.Conn, table string, columns []string, n int, row func(dst []driver.Value, i int) []driver.Value) error {
	if n == 0 {
		return nil
	}
	a, err := duckdb.NewAppenderWithColumns(conn, "", "main", table, columns)
	if err != nil {
		return err
	}
	values := make([]driver.Value, 0, len(columns))
	for i := range n {
		values = row(values[:0], i)
		if err := a.AppendRow(values...); err != nil {
			a.Clear()
			a.Close()
			return err
		}
	}
	return a.Close()
}
