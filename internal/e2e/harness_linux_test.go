package e2e

import "syscall"

// endWithParent keeps a killed test run from leaving programs behind.
func endWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
