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

// folderFault says in a few words what is wrong with the rights to a state folder, or
// nothing.
func folderFault(stateDir string) string {
	folder, err := os.Stat(stateDir)
	if err != nil {
		return ""
	}
	return rightsFault(os.Geteuid(), folder)
}

// rightsFault is folderFault for a user and a folder. Root may use anybody's.
func rightsFault(user int, folder fs.FileInfo) string {
	stat, is := folder.Sys().(*syscall.Stat_t)
	switch {
	case !is:
		return ""
	case user != 0 && int(stat.Uid) != user:
		return "the state folder belongs to another user, who can read and change what is kept in it; choose another one, or change its owner"
	case folder.Mode().Perm()&0o022 != 0:
		return "other users can write to the state folder, and so decide what is sent from it; take that right away (chmod go-w), or choose another one"
	}
	return ""
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
