package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestCaptureIsNotForTerminals: what is no text would spoil one.
func TestCaptureIsNotForTerminals(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	for _, args := range [][]string{{"capture", "b"}, {"capture", "b", "-w", "-"}} {
		var said bytes.Buffer
		if status := execute(t.Context(), args, terminal, &said); status != 2 || !strings.Contains(said.String(), "not for terminals: name a file with -w FILE") {
			t.Errorf("%q: status %d, %q", args, status, &said)
		}
	}
}

func TestCaptureCommandRefuses(t *testing.T) {
	_, socket, _ := startEngine(t)
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{nil, 2, "usage: warren capture TUNNEL"},
		{[]string{"b", "--side", "left"}, 2, "--side left: there are clear, sealed and both"},
		{[]string{"b", "--duration", "-1s"}, 2, "want a time as 20s or 5m"},
		{[]string{"b", "-c", "-1"}, 2, "--count"},
		{[]string{"b"}, 1, `there is no tunnel "b", nor any other`},
	} {
		var out, said bytes.Buffer
		status := execute(t.Context(), append([]string{"capture", "--socket", socket}, c.args...), &out, &said)
		if status != c.status || !strings.Contains(said.String(), c.want) || out.Len() > 0 {
			t.Errorf("%q: status %d, %q; want %d and %q", c.args, status, &said, c.status, c.want)
		}
	}
}
