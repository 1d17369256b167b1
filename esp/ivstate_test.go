package esp

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testClock = 1763699372_000000000 // nanoseconds

func stateFile(t *testing.T) string { return filepath.Join(t.TempDir(), "tunnel.iv") }

// keyedBy opens the state and makes an SA that it serves.
func keyedBy(t *testing.T, path string, clock uint64) (*IVState, *Outbound) {
	t.Helper()
	state, err := OpenIVState(path, clock)
	if err != nil {
		t.Fatal(err)
	}
	out, err := NewOutbound(Config{SPI: testSPI, Suite: AES128GCM16, Key: testKey(AES128GCM16), ESN: true, IVState: state})
	if err != nil {
		t.Fatal(err)
	}
	return state, out
}

// TestIVsNeverComeBack restarts again and again, mostly without leave, with clocks that run, stand, jump and go back.
func TestIVsNeverComeBack(t *testing.T) {
	r := seeded(t, 5)
	path, clock, highest := stateFile(t), uint64(testClock), uint64(0)
	for round := range 300 {
		switch r.IntN(4) {
		case 0:
			clock += r.Uint64N(1e12)
		case 1:
			clock -= r.Uint64N(1e12)
		case 2:
			clock += r.Uint64N(1e6)
		}
		state, out := keyedBy(t, path, clock)
		if first := out.IV(); first <= highest || first <= clock {
			t.Fatalf("round %d: clock %d, first IV %d, %d was used", round, clock, first, highest)
		}
		if wantBehind := state.Base() - clock; state.Behind() != wantBehind {
			t.Fatalf("round %d: behind by %d, want %d", round, state.Behind(), wantBehind)
		}
		for range r.IntN(8) {
			run := out.Reserve(int(r.Uint64N(ivStep)))
			if run.Left() > 0 {
				highest = max(highest, state.Base()+run.First()+uint64(run.Left())-1)
			}
			run.End()
			if r.IntN(2) == 0 {
				if err := state.Extend(); err != nil {
					t.Fatal(err)
				}
			}
			if onDisk, err := readIVState(path); err != nil || onDisk < highest {
				t.Fatalf("round %d: the file holds %d, %v; %d was used", round, onDisk, err, highest)
			}
		}
	}
}

func TestSAStopsWhereTheStateEnds(t *testing.T) {
	state, out := keyedBy(t, stateFile(t), testClock)
	run := out.Reserve(ivStep + 5)
	if run.Left() != ivStep {
		t.Errorf("%d numbers, want %d", run.Left(), ivStep)
	}
	if run := out.Reserve(1); run.Left() != 0 {
		t.Error("a number that the file does not cover")
	}
	if out.Exhausted() {
		t.Error("exhausted, but Extend can help")
	}
	if err := state.Extend(); err != nil {
		t.Fatal(err)
	}
	if run := out.Reserve(1); run.Left() != 1 {
		t.Error("no number after Extend")
	}
}

func TestExtendWritesOnlyWhenNeeded(t *testing.T) {
	path := stateFile(t)
	state, out := keyedBy(t, path, testClock)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if before.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", before.Mode())
	}
	extend := func() bool {
		if err := state.Extend(); err != nil {
			t.Fatal(err)
		}
		after, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return !os.SameFile(before, after)
	}
	out.Reserve(ivStep/2 - 1)
	if extend() {
		t.Error("written although more than half is left")
	}
	out.Reserve(1)
	if !extend() {
		t.Error("not written although only half is left")
	}
}

func TestCorruptIVState(t *testing.T) {
	good := formatIVState(testClock)
	for name, text := range map[string]string{
		"empty": "", "zeros": strings.Repeat("\x00", len(good)), "cut": good[:len(good)-3], "no newline": good[:len(good)-1],
		"one line": good[:strings.Index(good, "crc32")], "more": good + "x", "digit": strings.Replace(good, "17", "71", 1),
		"negative": strings.Replace(good, "iv ", "iv -", 1), "other": "hello\n",
		"too large": fmt.Sprintf("last-iv %d0\ncrc32 00000000\n", uint64(math.MaxUint64)),
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			path := stateFile(t)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := OpenIVState(path, testClock)
			if !errors.Is(err, ErrIVStateCorrupt) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v", err)
			}
			if after, _ := os.ReadFile(path); string(after) != text {
				t.Error("the corrupt file was changed")
			}
		})
	}
}

// full makes the file that is written next one on a device without space.
func full(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat("/dev/full"); err != nil {
		if os.Geteuid() == 0 {
			t.Fatal("the disk that is full is /dev/full: ", err)
		}
		t.Skip("this system has no /dev/full, which plays the disk that is full")
	}
	if err := os.Symlink("/dev/full", path+".new"); err != nil {
		t.Fatal(err)
	}
}

func TestFullDisk(t *testing.T) {
	path := stateFile(t)
	full(t, path)
	if _, err := OpenIVState(path, testClock); err == nil || !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), path) {
		t.Errorf("open: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was left behind: %v", err)
	}

	state, out := keyedBy(t, path, testClock)
	before, _ := os.ReadFile(path)
	out.Reserve(ivStep - 3)
	full(t, path)
	if err := state.Extend(); err == nil {
		t.Error("extended on a full disk")
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Errorf("the file was changed to %q", after)
	}
	if run := out.Reserve(10); run.Left() != 3 {
		t.Errorf("%d numbers, want the 3 that the file covers", run.Left())
	}
	if err := state.Extend(); err != nil { // there is space again
		t.Error(err)
	}
}

func TestIVStateHasOneOwner(t *testing.T) {
	path := stateFile(t)
	state, old := keyedBy(t, path, testClock)
	cfg := Config{SPI: testSPI, Suite: AES128GCM16, Key: testKey(AES128GCM16), IVState: state}
	if _, err := NewOutbound(cfg); !errors.Is(err, ErrIVStateTaken) {
		t.Errorf("a second SA on one state: %v", err)
	}
	// A second process, or the next configuration, takes over.
	_, out := keyedBy(t, path, testClock)
	if out.IV() <= old.IV()+ivStep-1 {
		t.Errorf("the new one starts at %d, the old one may use %d", out.IV(), old.IV()+ivStep-1)
	}
	old.Reserve(ivStep)
	if err := state.Extend(); !errors.Is(err, ErrIVStateTaken) {
		t.Errorf("the old one extended: %v", err)
	}
	if run := old.Reserve(1); run.Left() != 0 {
		t.Error("the old one goes on")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := state.Extend(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("extended a file that is gone: %v", err)
	}
}

func TestIVStateErrors(t *testing.T) {
	if _, err := OpenIVState(filepath.Join(t.TempDir(), "no", "such", "dir"), testClock); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if _, err := OpenIVState(t.TempDir(), testClock); err == nil {
		t.Error("a directory was taken for a file")
	}
	path := stateFile(t)
	if err := writeIVState(path, math.MaxUint64); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenIVState(path, testClock); !errors.Is(err, ErrIVsUsedUp) {
		t.Errorf("no IV left: %v", err)
	}
	state, _ := keyedBy(t, stateFile(t), testClock)
	cfg := Config{SPI: testSPI, Suite: AES128SHA1, Key: testKey(AES128SHA1), IVState: state}
	if _, err := NewOutbound(cfg); err == nil || !strings.Contains(err.Error(), "aes128-sha1") {
		t.Errorf("a CBC suite: %v", err)
	}
	// The last IVs are used, and then it ends.
	if err := writeIVState(path, math.MaxUint64-4); err != nil {
		t.Fatal(err)
	}
	state, out := keyedBy(t, path, testClock)
	if run := out.Reserve(9); run.Left() != 4 {
		t.Errorf("%d numbers, want 4", run.Left())
	}
	if err := state.Extend(); err != nil || !out.Exhausted() {
		t.Errorf("at the end: %v, exhausted %v", err, out.Exhausted())
	}
}
