//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package telemetry

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// handOver gives a file that was just made to whom it should belong. It goes by the
// descriptor: whoever may write to the folder could put another file under its
// name. Where a file cannot be given away it is as good as any other of root's.
func handOver(f *os.File) {
	folder, err := os.Stat(filepath.Dir(f.Name()))
	if err != nil {
		return
	}
	if uid, gid, give := heir(os.Geteuid(), folder); give {
		f.Chown(uid, gid)
	}
}

// handOverDir is handOver for a folder.
func handOverDir(path string) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		handOver(f)
	}
}

// heir returns to whom a user gives what they make in a folder: root gives it to the
// folder's owner, everybody else has what they make.
func heir(user int, folder fs.FileInfo) (uid, gid int, give bool) {
	stat, is := folder.Sys().(*syscall.Stat_t)
	if !is || user != 0 || stat.Uid == 0 {
		return 0, 0, false
	}
	return int(stat.Uid), int(stat.Gid), true
}
