package duckdb

import (
	"errors"
	"fmt"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// value reads back what columns.set has stored, from the start of row, and
// returns the rest of row.
func (c *column) value(row []any) (v plan.Value, rest []any, err error) {
	v, rest = plan.Value{Set: row[0] != nil}, row[1:]
	switch x := row[0].(type) {
	case nil:
	case int64:
		v.Int = x
	case uint8:
		v.Int = int64(x)
	case uint16:
		v.Int = int64(x)
	case bool:
		v.Int = int64(bit(x))
	case string:
		v.Text = x
	case []byte:
		if v.ID, err = toID(x); err != nil {
			return plan.Value{}, nil, fmt.Errorf("field %s: %w", c.Name, err)
		}
	default:
		return plan.Value{}, nil, fmt.Errorf("field %s: %w", c.Name, errColumn)
	}
	if c.Kind == plan.RandomID {
		if hyphens, _ := row[1].(bool); hyphens {
			v.Int = 1
		}
		rest = row[2:]
	}
	return v, rest, nil
}

var errColumn = errors.New("the column does not hold what this program writes there")

func toID(b []byte) (plan.ID, error) {
	if len(b) != len(plan.ID{}) {
		return plan.ID{}, errColumn
	}
	return plan.ID(b), nil
}

// A cursor is a place to scan a row of any types into.
type cursor struct {
	row  []any
	dest []any // points into row
}

func newCursor(width int) *cursor {
	c := &cursor{row: make([]any, width), dest: make([]any, width)}
	for i := range c.row {
		c.dest[i] = &c.row[i]
	}
	return c
}
