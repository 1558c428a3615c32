package duckdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// The file ids starts with idsMagic. Records of 32 bytes follow, in ascending
// order of their numbers, little-endian:
//
//	0   8  the sender's number, from 1
//	8  16  its id; zeros in a mark
//	24  4  what the record is: idsSender or idsMark
//	28  4  CRC-32C of the 28 bytes before
const (
	idsName    = "ids"
	idsNewName = "ids.new"
	idsMagic   = "blindai ids v01\n"
	idsRecord  = 32

	idsSender = 1
	idsMark   = 2 // the sender was erased; its rows are to be deleted
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// An identity is one record of ids.
type identity struct {
	number int64
	id     plan.ID // zero in a mark
	mark   bool
}

func (e identity) append(dst []byte) []byte {
	at := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.number))
	dst = append(dst, e.id[:]...)
	kind := uint32(idsSender)
	if e.mark {
		kind = idsMark
	}
	dst = binary.LittleEndian.AppendUint32(dst, kind)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

func parseIdentity(b []byte) (e identity, ok bool) {
	if len(b) < idsRecord || binary.LittleEndian.Uint32(b[28:]) != crc32.Checksum(b[:28], castagnoli) {
		return identity{}, false
	}
	e = identity{number: int64(binary.LittleEndian.Uint64(b)), id: plan.ID(b[8:24])}
	switch binary.LittleEndian.Uint32(b[24:]) {
	case idsSender:
		ok = e.id != plan.ID{}
	case idsMark:
		e.mark = true
		ok = e.id == plan.ID{}
	}
	return e, ok && e.number > 0
}

// readIDs returns the records of the file ids in dir up to the first that is
// not whole. bad is the index of that one, or -1.
func readIDs(dir string) (entries []identity, bad int, err error) {
	path := filepath.Join(dir, idsName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, -1, damaged(path, errors.New("it is missing, and "+databaseName+" is there"))
	}
	if err != nil {
		return nil, -1, fmt.Errorf("read ids: %w", err)
	}
	if len(b) < len(idsMagic) || string(b[:len(idsMagic)]) != idsMagic {
		return nil, -1, damaged(path, errors.New("it does not start as a file of ids does"))
	}
	b = b[len(idsMagic):]
	entries = make([]identity, 0, len(b)/idsRecord)
	last := int64(0)
	for len(b) > 0 {
		e, ok := parseIdentity(b)
		if !ok || e.number <= last {
			return entries, len(entries), nil
		}
		entries, last, b = append(entries, e), e.number, b[idsRecord:]
	}
	return entries, -1, nil
}

// idsFile is the file ids, open for appending. It belongs to the writer.
type idsFile struct {
	dir  string
	step func(string) error // see Store.step

	file *os.File // nil before the first replace or resume
	size int64    // up to here the file is durable

	// stale means that the file does not hold what it should: it must be
	// replaced before anything relies on it.
	stale bool
}

// resume continues the file that readIDs has found whole.
func (f *idsFile) resume() error {
	file, err := os.OpenFile(filepath.Join(f.dir, idsName), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open ids: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return fmt.Errorf("open ids: %w", err)
	}
	f.file, f.size = file, info.Size()
	return nil
}

// add appends new senders. They are durable when it returns nil. After an error
// the file is stale: what a failed write or sync has left is anybody's guess.
func (f *idsFile) add(entries []identity) error {
	if len(entries) == 0 {
		return nil
	}
	b := make([]byte, 0, len(entries)*idsRecord)
	for _, e := range entries {
		b = e.append(b)
	}
	f.stale = true
	if _, err := f.file.WriteAt(b, f.size); err != nil {
		return fmt.Errorf("append ids: %w", err)
	}
	if err := f.step(stepIDsAppended); err != nil {
		return err
	}
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("append ids: %w", err)
	}
	f.stale = false
	f.size += int64(len(b))
	return nil
}

// replace writes all entries, in ascending order of their numbers, into a new
// file and puts it in the place of the old one, which is then gone.
func (f *idsFile) replace(entries []identity) error {
	b := make([]byte, 0, len(idsMagic)+len(entries)*idsRecord)
	b = append(b, idsMagic...)
	for _, e := range entries {
		b = e.append(b)
	}
	f.stale = true
	path := filepath.Join(f.dir, idsName)
	file, err := os.OpenFile(filepath.Join(f.dir, idsNewName), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("replace ids: %w", err)
	}
	err = func() error {
		if _, err := file.Write(b); err != nil {
			return err
		}
		if err := file.Sync(); err != nil {
			return err
		}
		if err := f.step(stepIDsWritten); err != nil {
			return err
		}
		return os.Rename(file.Name(), path)
	}()
	if err != nil {
		file.Close()
		os.Remove(file.Name())
		return fmt.Errorf("replace ids: %w", err)
	}
	if f.file != nil {
		f.file.Close() // only read and synced: nothing can be lost
	}
	f.file, f.size = file, int64(len(b))
	if err := f.step(stepIDsRenamed); err != nil {
		return err
	}
	if err := syncFolder(f.dir); err != nil {
		return fmt.Errorf("replace ids: %w", err)
	}
	f.stale = false
	return nil
}

func (f *idsFile) close() error {
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}

// syncFolder makes a rename in dir durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
