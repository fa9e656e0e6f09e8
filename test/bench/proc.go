package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// size is how large the plugin's process was when the measurement began.
type size struct {
	pid   int
	start float64
}

func newSize(v *vault) (size, error) {
	pids := v.Plugins(abejaPlugin)
	if len(pids) != 1 {
		return size{}, fmt.Errorf("%d processes of %s", len(pids), abejaPlugin)
	}
	pid := pids[0]
	// This makes the peak begin anew.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		return size{}, err
	}
	start, _, err := residentMB(pid)
	return size{pid, start}, err
}

// growth is what came on top of the size at the beginning.
func (s size) growth(what string) (growth, error) {
	now, peak, err := residentMB(s.pid)
	return growth{what, s.start, now - s.start, peak - s.start}, err
}

// residentMB is how much memory a process has, and had at the most.
func residentMB(pid int) (now, peak float64, err error) {
	status, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	defer status.Close()
	lines := bufio.NewScanner(status)
	for lines.Scan() {
		fields := strings.Fields(lines.Text()) // VmRSS: 12345 kB
		if len(fields) < 2 {
			continue
		}
		kb, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "VmRSS:":
			now = kb * 1024 / 1e6
		case "VmHWM:":
			peak = kb * 1024 / 1e6
		}
	}
	return now, peak, lines.Err()
}
