package doctor

import "golang.org/x/sys/windows"

func openFilesLimit() (n uint64, known bool) { return 0, false }

// diskSpace tells what this user may still write, and the size of the disk, in bytes.
func diskSpace(dir string) (free, total uint64, err error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, 0, err
	}
	err = windows.GetDiskFreeSpaceEx(name, &free, &total, nil)
	return free, total, err
}
