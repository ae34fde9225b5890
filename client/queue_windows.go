package client

import (
	"os"

	"golang.org/x/sys/windows"
)

// lockFile waits for an exclusive lock on f.
func lockFile(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK, 0, 1, 0, new(windows.Overlapped))
}

// syncDir does nothing: Windows has no such call, and NTFS keeps its names in a journal.
func syncDir(string) error { return nil }
