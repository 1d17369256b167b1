package main

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warrenvpn/warren"
)

// TestMistakesOnTheCommandLine: what is missing is named, what is too much is said, and a misspelt command finds the right one. The
// status is that of mistakes.
func TestMistakesOnTheCommandLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"statsu"}, []string{`there is no command "statsu"; did you mean status?`, "warren --help"}},
		{[]string{"xyzzy"}, []string{`there is no command "xyzzy" (see`}},
		{[]string{"run"}, []string{"run: FILE is missing", "usage: warren run FILE"}},
		{[]string{"run", "a", "b"}, []string{`run: "b" is more than it takes`}},
		{[]string{"status", "x"}, []string{`status: "x" is more than it takes`}},
		{[]string{"tunnels", "a", "b"}, []string{`tunnels: "b" is more than it takes`}},
		{[]string{"forward"}, []string{"forward: LISTEN and TO are missing"}},
		{[]string{"explain", "10.0.0.1"}, []string{"explain: DESTINATION is missing"}},
		{[]string{"status", "--jsn"}, []string{"unknown flag: --jsn", "warren status --help"}},
	} {
		var out, said bytes.Buffer
		status := execute(t.Context(), c.args, &out, &said)
		for _, want := range c.want {
			if status != 2 || out.Len() > 0 || !strings.Contains(said.String(), want) {
				t.Errorf("%q: exit status %d, %q; want 2 and %q", c.args, status, said.String(), want)
			}
		}
	}
}

// TestEveryCommandSaysWhatItTakes: the usage line is what arguments are checked against.
func TestEveryCommandSaysWhatItTakes(t *testing.T) {
	for _, c := range newRoot().Commands() {
		optional := false
		for _, name := range strings.Fields(c.Use)[1:] {
			if open := strings.HasPrefix(name, "["); optional && !open || open != strings.HasSuffix(name, "]") {
				t.Errorf("%s: %q cannot be checked", c.Name(), c.Use)
			} else {
				optional = open
			}
		}
		var out bytes.Buffer
		if status := execute(t.Context(), []string{c.Name(), "--help"}, &out, &out); status != 0 || !strings.Contains(out.String(), "Usage:\n  warren "+c.Name()) {
			t.Errorf("%s --help: exit status %d\n%s", c.Name(), status, &out)
		}
		for line := range strings.Lines(c.Long) {
			if len(line) > 133 {
				t.Errorf("%s --help has a line of %d characters", c.Name(), len(line))
			}
		}
	}
}

var errFull = errors.New("no space left on device")

// full is a disk that takes so many bytes.
type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.left {
		return 0, errFull
	}
	f.left -= len(p)
	return len(p), nil
}

// TestHalfATableIsNoSuccess: what could not be written is an error, whatever it was.
func TestHalfATableIsNoSuccess(t *testing.T) {
	_, socket, _ := startEngine(t)
	file := filepath.Join(t.TempDir(), "site.yaml")
	if err := os.WriteFile(file, []byte("vrfs: {main: {port: {netstack: {addresses: [10.1.0.1/32]}}}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"status", "--socket", socket}, {"status", "--json", "--socket", socket}, {"routes", "--socket", socket},
		{"check", file}, {"genkey"}, {"--help"}} {
		for _, room := range []int{0, 10} {
			var said bytes.Buffer
			if status := execute(t.Context(), args, &full{room}, &said); status != 1 || strings.Count(said.String(), errFull.Error()) != 1 {
				t.Errorf("%q with room for %d bytes: exit status %d, %q", args, room, status, said.String())
			}
		}
		if status := execute(t.Context(), args, io.Discard, io.Discard); status != 0 {
			t.Errorf("%q: exit status %d", args, status)
		}
	}
}

// TestWays: explain's lines, and where a peer is in all tables.
func TestWays(t *testing.T) {
	at := netip.MustParseAddrPort("192.0.2.2:4500")
	raw := netip.AddrPortFrom(at.Addr(), 0)
	for _, c := range []struct {
		way  warren.Explanation
		want string
	}{
		{warren.Explanation{Child: "b", Suite: "aes128gcm16", Peer: at}, "SA      b, aes128gcm16, to 192.0.2.2:4500\n"},
		{warren.Explanation{Child: "b", Suite: "aes128gcm16", Peer: raw}, "SA      b, aes128gcm16, to 192.0.2.2\n"},
		{warren.Explanation{Child: "b", Peer: at, Why: "there is none"}, "SA      b, to 192.0.2.2:4500: there is none\n"},
		{warren.Explanation{Suite: "chacha20poly1305"}, "SA      chacha20poly1305, to -\n"},
		{warren.Explanation{Drop: "no_sa", Why: "it is down"}, "drop    no_sa: it is down\n"},
	} {
		var out strings.Builder
		printExplanation(&out, &c.way)
		if !strings.HasSuffix(out.String(), "  "+c.want) {
			t.Errorf("%+v: got\n%swant %s", c.way, &out, c.want)
		}
	}
}

// TestRoutesToNowhere: an answer with nothing in it says so, and for programs is an empty list.
func TestRoutesToNowhere(t *testing.T) {
	_, socket, _ := startEngine(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"192.0.2.1"}, "no route covers 192.0.2.1 or lies within it\n"},
		{[]string{"192.0.2.1", "--json"}, "[]\n"},
	} {
		var out strings.Builder
		if status := execute(t.Context(), append([]string{"routes", "--socket", socket}, c.args...), &out, &out); status != 0 || out.String() != c.want {
			t.Errorf("%q: exit status %d, %q", c.args, status, out.String())
		}
	}
}

// TestNamesThatNobodyHas: the error says what names there are, or that there are none.
func TestNamesThatNobodyHas(t *testing.T) {
	_, socket, _ := startEngine(t)
	for _, command := range []string{"tunnels", "sas", "drops", "bgp"} {
		var said bytes.Buffer
		if status := execute(t.Context(), []string{command, "x", "--socket", socket}, io.Discard, &said); status != 1 || !strings.Contains(said.String(), `"x", and no other`) {
			t.Errorf("%s x: exit status %d, %q", command, status, said.String())
		}
	}
	if err := noSuch("tunnel", "x", []string{"a", "b"}); err.Error() != `there is no tunnel "x"; there are: a, b` {
		t.Error(err)
	}
	if _, err := named(&warren.Status{}, nil); err != nil {
		t.Error(err)
	}
}
