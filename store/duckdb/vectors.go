package duckdb

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"unsafe"

	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/duckdb/duckdb-go/v2/mapping"
)

// This file is the whole way of rows into DuckDB: it fills DuckDB's own vectors,
// a column at a time. The driver's appender takes rows, and boxes each value:
// 950 ns a row for BlindAI's plan, where this takes 230 with all that follows.
// The driver's Arrow path is as fast as this one, but needs a build tag, which
// whoever builds or tests this package would have to know. 2026-11.

// loadPieces adds the rows of pieces, within the transaction that conn has open.
func loadPieces(conn *sql.Conn, l *layout, pieces []piece) error {
	return conn.Raw(func(c any) error {
		connection, err := handle(c)
		if err != nil {
			return err
		}
		sessions, err := newTarget(connection, l.SessionTable, l.sessionParts())
		if err != nil {
			return fmt.Errorf("load sessions: %w", err)
		}
		for _, p := range pieces {
			if err == nil && p.sessionCount > 0 {
				err = sessions.add(p.sessions, p.sessionCount)
			}
		}
		if err := sessions.close(err); err != nil {
			return fmt.Errorf("load sessions: %w", err)
		}

		events, err := newTarget(connection, l.EventTable, l.eventParts())
		if err != nil {
			return fmt.Errorf("load events: %w", err)
		}
		for _, p := range pieces {
			if err == nil {
				err = events.add(p.events, p.rows)
			}
		}
		if err := events.close(err); err != nil {
			return fmt.Errorf("load events: %w", err)
		}
		return nil
	})
}

// handle returns what DuckDB's C interface calls the connection c. The driver
// has it in a field of its own and no way to ask for it. TestHandle fails when a
// new version of the driver puts it elsewhere.
func handle(c any) (mapping.Connection, error) {
	v := reflect.ValueOf(c)
	if v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
		if f := v.Elem().FieldByName("conn"); f.IsValid() && f.Type() == reflect.TypeFor[mapping.Connection]() {
			return mapping.Connection{Ptr: f.FieldByName("Ptr").UnsafePointer()}, nil
		}
	}
	return mapping.Connection{}, errors.New("this version of DuckDB's driver keeps its connections where this program does not find them")
}

// A target is a table that rows are added to, by one chunk of DuckDB's after
// the other.
type target struct {
	appender mapping.Appender
	types    []mapping.LogicalType
	chunk    mapping.DataChunk
	used     int // rows of chunk
	size     int
}

// newTarget opens the named columns of a table. The others are null: a plan may
// have been extended by a column that lies elsewhere in the table.
func newTarget(conn mapping.Connection, table string, parts []part) (*target, error) {
	t := &target{size: int(mapping.VectorSize())}
	if mapping.AppenderCreateExt(conn, "", "main", table, &t.appender) == mapping.StateError {
		return nil, t.close(t.fault())
	}
	for i, p := range parts {
		if mapping.AppenderAddColumn(t.appender, p.name) == mapping.StateError {
			return nil, t.close(t.fault())
		}
		t.types = append(t.types, mapping.AppenderColumnType(t.appender, mapping.IdxT(i)))
	}
	t.chunk = mapping.CreateDataChunk(t.types)
	return t, nil
}

// add adds the next rows of columns, which are in the order of parts.
func (t *target) add(columns []stored, rows int) error {
	for rows > 0 {
		n := min(rows, t.size-t.used)
		for i := range columns {
			v := mapping.DataChunkGetVector(t.chunk, mapping.IdxT(i))
			if err := columns[i].fill(v, t.used, n, t.size); err != nil {
				return err
			}
		}
		t.used += n
		rows -= n
		if t.used == t.size {
			if err := t.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *target) flush() error {
	mapping.DataChunkSetSize(t.chunk, mapping.IdxT(t.used))
	if mapping.AppendDataChunk(t.appender, t.chunk) == mapping.StateError {
		return t.fault()
	}
	mapping.DataChunkReset(t.chunk)
	t.used = 0
	return nil
}

// close ends the work: with all that was added, or with none of it after err.
func (t *target) close(err error) error {
	if err == nil && t.used > 0 {
		err = t.flush()
	}
	if err == nil && mapping.AppenderFlush(t.appender) == mapping.StateError {
		err = t.fault()
	}
	if err != nil {
		mapping.AppenderClear(t.appender)
	}
	mapping.AppenderDestroy(&t.appender)
	mapping.DestroyDataChunk(&t.chunk)
	for i := range t.types {
		mapping.DestroyLogicalType(&t.types[i])
	}
	return err
}

// fault returns what the appender says went wrong.
func (t *target) fault() error {
	data := mapping.AppenderErrorData(t.appender)
	defer mapping.DestroyErrorData(&data)
	return &duckdb.Error{Type: duckdb.ErrorType(mapping.ErrorDataErrorType(data)), Msg: mapping.ErrorDataMessage(data)}
}

// fill moves the next n rows of v into vector, from the place at on. The vector
// has size places.
func (v *stored) fill(vector mapping.Vector, at, n, size int) error {
	data := mapping.VectorGetData(vector)
	if v.nulls != nullNone {
		return v.fillSome(vector, data, at, n, size)
	}
	switch v.as {
	case partInt64:
		readInts(unsafe.Slice((*int64)(data), size)[at:at+n], v)
	case partUint8, partBool:
		readInts(unsafe.Slice((*uint8)(data), size)[at:at+n], v)
	case partUint16:
		readInts(unsafe.Slice((*uint16)(data), size)[at:at+n], v)
	default:
		for i := range n {
			if err := v.put(vector, data, at+i, size); err != nil {
				return err
			}
			v.row++
		}
	}
	return nil
}

// fillSome is fill for a column with nulls.
func (v *stored) fillSome(vector mapping.Vector, data unsafe.Pointer, at, n, size int) error {
	mapping.VectorEnsureValidityWritable(vector)
	valid := unsafe.Slice((*uint64)(mapping.VectorGetValidity(vector)), (size+63)/64)
	if v.nulls == nullAll && n == size {
		clear(valid)
		return nil
	}
	for i := at; i < at+n; i++ {
		if v.isNull() {
			valid[i>>6] &^= 1 << (i & 63)
		} else if err := v.put(vector, data, i, size); err != nil {
			return err
		}
		v.row++
	}
	return nil
}

// put moves the next value of v, which is not null, to the place i.
func (v *stored) put(vector mapping.Vector, data unsafe.Pointer, i, size int) error {
	switch v.as {
	case partInt64:
		unsafe.Slice((*int64)(data), size)[i] = v.int()
	case partUint8, partBool:
		unsafe.Slice((*uint8)(data), size)[i] = uint8(v.int())
	case partUint16:
		unsafe.Slice((*uint16)(data), size)[i] = uint16(v.int())
	case partText:
		word := v.int()
		if word < 0 || word >= int64(len(v.words)) {
			return errBlock
		}
		mapping.VectorAssignStringElement(vector, mapping.IdxT(i), v.words[word])
	case partUUID:
		// A number of two halves, the lower one first, whose highest bit is
		// turned so that they sort as their texts do.
		id := v.data[v.value*16:][:16]
		v.value++
		halves := unsafe.Slice((*uint64)(data), 2*size)[2*i:]
		halves[0] = binary.BigEndian.Uint64(id[8:])
		halves[1] = binary.BigEndian.Uint64(id) ^ 1<<63
	}
	return nil
}
