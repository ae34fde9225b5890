//go:build unix && !linux

package services

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// attributes cannot ask for a parent-death signal here: a server may be left behind when its starter is killed.
func attributes(prog program) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Credential: prog.as.credential()}
	if prog.detach {
		attr.Setsid = true
		return attr
	}
	attr.Setpgid = true
	return attr
}

// descendants lists the processes below pid, parents first.
func descendants(pid int) []int {
	children := map[int][]int{}
	out, _ := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			continue
		}
		child, err1 := strconv.Atoi(fields[0])
		parent, err2 := strconv.Atoi(fields[1])
		if err1 == nil && err2 == nil {
			children[parent] = append(children[parent], child)
		}
	}
	list := append([]int(nil), children[pid]...)
	for i := 0; i < len(list); i++ {
		list = append(list, children[list[i]]...)
	}
	return list
}

// alive tells whether the process exists and is no zombie.
func alive(pid int) bool {
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && !strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
}

// commandLine returns the arguments that a process was started with.
func commandLine(pid int) string {
	out, _ := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return string(out)
}
