//go:build !windows

package db

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes the whole-file lock of the open file description, without waiting.
func lockFile(f *os.File) error { return flock(f, syscall.LOCK_EX) }

// shareFile takes the same lock shared with others who only look.
func shareFile(f *os.File) error { return flock(f, syscall.LOCK_SH) }

func flock(f *os.File, how int) error {
	err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return err
}
