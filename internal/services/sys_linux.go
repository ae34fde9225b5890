package services

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func attributes(prog program) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Credential: prog.as.credential()}
	if prog.detach {
		attr.Setsid = true
		return attr
	}
	attr.Setpgid = true // a Ctrl-C at the terminal is not meant for it
	attr.Pdeathsig = prog.orphan
	return attr
}

// descendants lists the processes below pid, parents first.
func descendants(pid int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		if child, parent, _, ok := readStat(path); ok {
			children[parent] = append(children[parent], child)
		}
	}
	list := append([]int(nil), children[pid]...)
	for i := 0; i < len(list); i++ {
		list = append(list, children[list[i]]...)
	}
	return list
}

// alive tells whether the process exists and is no zombie: a container's first process may never reap those.
func alive(pid int) bool {
	_, _, state, ok := readStat("/proc/" + strconv.Itoa(pid) + "/stat")
	return ok && state != "Z" && state != "X"
}

// readStat reads pid, parent and state. The name before them stands in brackets and may hold anything.
func readStat(path string) (pid, parent int, state string, ok bool) {
	data, err := os.ReadFile(path)
	end := bytes.LastIndexByte(data, ')')
	if err != nil || end < 0 {
		return 0, 0, "", false
	}
	pid, err1 := strconv.Atoi(string(data[:max(0, bytes.IndexByte(data, ' '))]))
	fields := strings.Fields(string(data[end+1:]))
	if err1 != nil || len(fields) < 2 {
		return 0, 0, "", false
	}
	parent, err = strconv.Atoi(fields[1])
	return pid, parent, fields[0], err == nil
}

// commandLine returns the arguments that a process was started with.
func commandLine(pid int) string {
	data, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return string(bytes.ReplaceAll(data, []byte{0}, []byte{' '}))
}
