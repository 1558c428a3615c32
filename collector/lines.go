package collector

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// A lineFile is a file of whole lines that grows at its end. It is not safe for
// concurrent use.
type lineFile struct {
	file *os.File
	size int64 // of the lines that were added, bytes
	torn bool  // the file may have more than them, which could not be cut off yet
}

// openLines opens the file at path, makes it if it is not there, and returns what
// it has: the first size bytes are whole lines. The rest was never acknowledged (a
// power cut while it was written), and is cut off before the next line is added.
func openLines(path string) (l *lineFile, content []byte, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, err
	}
	if content, err = io.ReadAll(file); err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	whole := bytes.LastIndexByte(content, '\n') + 1
	return &lineFile{file: file, size: int64(whole), torn: whole < len(content)}, content, nil
}

// add adds whole lines, durably when it returns nil. Else none of them counts:
// they are cut off now or, where the disk does not allow that, before the next.
func (l *lineFile) add(lines []byte) error {
	if l.torn {
		if err := l.cut(); err != nil {
			return err
		}
	}
	_, err := l.file.Write(lines)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		return errors.Join(err, l.cut())
	}
	l.size += int64(len(lines))
	return nil
}

func (l *lineFile) cut() error {
	err := l.file.Truncate(l.size)
	l.torn = err != nil
	return err
}

func (l *lineFile) close() error { return l.file.Close() }
