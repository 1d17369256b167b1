//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/warrenvpn/warren/bench/lab"
)

// capturing is a warren capture that runs.
type capturing struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
}

func (e *ends) capture(t testing.TB, ctx context.Context, stdout io.Writer, args ...string) *capturing {
	t.Helper()
	c := &capturing{cmd: exec.CommandContext(ctx, e.program, append([]string{"capture", "--socket", e.sockA}, args...)...)}
	c.cmd.Stdout, c.cmd.Stderr = stdout, &c.stderr
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// ends waits for its end and returns what it said.
func (c *capturing) ends(t testing.TB, status int) string {
	t.Helper()
	err := c.cmd.Wait()
	if got := c.cmd.ProcessState.ExitCode(); got != status {
		t.Errorf("warren %v: %v, want status %d\n%s", c.cmd.Args[1:], err, status, &c.stderr)
	}
	return c.stderr.String()
}

// until waits for a condition.
func until(t testing.TB, ctx context.Context, what string, cond func() bool) {
	t.Helper()
	for !cond() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// begun says whether a capture's file has its beginning.
func begun(file string) func() bool {
	return func() bool { st, err := os.Stat(file); return err == nil && st.Size() > 0 }
}

// TestCapture: packets of a tunnel are captured at both sides while they pass, and whatever becomes of who captures, the daemon
// lives and packets pass.
func TestCapture(t *testing.T) {
	e := newEnds(t)
	lab.Require(t, "tshark")
	ctx := limit(t)
	pa := e.start(t, ctx, e.a, e.insideA, e.confA, e.sockA, "10.2.0.0/16", "fd02::/64")
	pb := e.start(t, ctx, e.b, e.insideB, e.confB, e.sockB, "10.1.0.0/16", "fd01::/64")

	both, sealed := filepath.Join(e.state, "both.pcapng"), filepath.Join(e.state, "sealed.pcapng")
	one := e.capture(t, ctx, nil, "peer", "-w", both)
	two := e.capture(t, ctx, nil, "peer", "--side", "sealed", "-c", "4", "-w", sealed)
	until(t, ctx, "captures to begin", func() bool { return begun(both)() && begun(sealed)() })
	if st, err := os.Stat(both); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("a file with clear traffic: %v %v", st.Mode(), err)
	}
	for range 5 { // each when the one before was answered, so that their order is known
		if r, err := e.insideA.Ping(ctx, "10.2.0.1", 1); err != nil || r.Received != 1 {
			t.Fatalf("%+v %v\na: %s\nb: %s", r, err, pa.Log(), pb.Log())
		}
	}
	if said := two.ends(t, 0); said != "warren: 4 packets captured, 0 missing; it has as many packets as were wanted\n" {
		t.Errorf("it said %q", said)
	}
	until(t, ctx, "all packets in the file", func() bool {
		b, err := os.ReadFile(both)
		return err == nil && packetBlocks(b) == 20
	})
	if err := one.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if said := one.ends(t, 0); said != "warren: 20 packets captured, 0 missing; stopped\n" {
		t.Errorf("it said %q", said)
	}
	pingsIn(t, both)
	out, err := exec.CommandContext(ctx, "tshark", "-n", "-r", sealed, "-T", "fields", "-E", "separator=,", "-e", "frame.interface_name",
		"-e", "ip.src", "-e", "ip.dst", "-e", "udp.dstport", "-e", "esp.spi", "-e", "esp.sequence").Output()
	want := regexp.MustCompile(`^(peer sealed,192\.0\.2\.1,192\.0\.2\.2,4500,` + spi1 + `,\d+\npeer sealed,192\.0\.2\.2,192\.0\.2\.1,4500,` + spi2 + `,\d+\n){2}$`)
	if err != nil || !want.Match(out) {
		t.Errorf("tshark: %v\n%s", err, out)
	}

	e.readerGoes(t, ctx)
	e.captureRefused(t, ctx)
	last := filepath.Join(e.state, "last.pcapng")
	c := e.capture(t, ctx, nil, "peer", "-w", last)
	until(t, ctx, "the capture to begin", begun(last))
	if r, err := e.insideA.Ping(ctx, "fd02::1", 3); err != nil || r.Received != 3 {
		t.Errorf("after all that: %+v %v", r, err)
	}
	for _, p := range []*lab.Process{pa, pb} {
		if err := p.Stop(); err != nil {
			t.Errorf("SIGTERM: %v\n%s", err, p.Log())
		}
	}
	if said := c.ends(t, 0); !strings.Contains(said, "captured, 0 missing; the engine stops") {
		t.Errorf("it said %q", said)
	}
	if said := e.capture(t, ctx, nil, "peer", "-w", last).ends(t, 1); !strings.Contains(said, "no engine answers") {
		t.Errorf("it said %q", said)
	}
}

// packetBlocks counts the enhanced packet blocks of a pcapng file that may not be complete yet.
func packetBlocks(b []byte) (n int) {
	for len(b) >= 8 {
		kind, length := binary.LittleEndian.Uint32(b), int(binary.LittleEndian.Uint32(b[4:]))
		if length < 12 || length > len(b) {
			break
		}
		if kind == 6 {
			n++
		}
		b = b[length:]
	}
	return n
}

// pingsIn reads a capture of both sides of five pings and their answers.
func pingsIn(t testing.TB, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var latest time.Time
	for {
		data, ci, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if ci.Timestamp.Before(latest) || time.Since(ci.Timestamp) > 5*time.Minute {
			t.Errorf("packet %d of %v after one of %v", len(got), ci.Timestamp, latest)
		}
		latest = ci.Timestamp
		i, err := r.Interface(ci.InterfaceIndex)
		if err != nil || i.LinkType != layers.LinkTypeRaw {
			t.Fatal(i, err)
		}
		p := gopacket.NewPacket(data, layers.LayerTypeIPv4, gopacket.Default)
		if p.ErrorLayer() != nil {
			t.Errorf("packet %d: %v", len(got), p.ErrorLayer().Error())
		}
		ip, _ := p.NetworkLayer().(*layers.IPv4)
		if ip == nil {
			t.Fatalf("packet %d: %v", len(got), p)
		}
		what := "UDP"
		if l, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
			what = fmt.Sprint(l.TypeCode, l.Seq)
		}
		got = append(got, fmt.Sprintf("%s: %v > %v %s", i.Name, ip.SrcIP, ip.DstIP, what))
	}
	var want []string
	for range 5 {
		want = append(want, "peer clear: 10.1.0.1 > 10.2.0.1 EchoRequest 1", "peer sealed: 192.0.2.1 > 192.0.2.2 UDP",
			"peer sealed: 192.0.2.2 > 192.0.2.1 UDP", "peer clear: 10.2.0.1 > 10.1.0.1 EchoReply 1")
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("captured\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	stats := 0
	for i := range r.NInterfaces() {
		n, err := r.Interface(i)
		if err == nil && n.Statistics.PacketsReceived == 10 && n.Statistics.PacketsDropped == 0 {
			stats++
		}
	}
	if stats != 2 {
		t.Errorf("%d of the interfaces have statistics of 10 packets", stats)
	}
}

// readerGoes: who reads a pipe is killed amid it, with and without packets, or stops reading.
func (e *ends) readerGoes(t testing.TB, ctx context.Context) {
	t.Helper()
	for _, busy := range []bool{true, false} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		reader := exec.CommandContext(ctx, "cat")
		reader.Stdin = r
		if err := reader.Start(); err != nil {
			t.Fatal(err)
		}
		c := e.capture(t, ctx, w, "peer")
		_, _ = r.Close(), w.Close() // they have theirs
		if busy {
			if _, err := e.insideA.Ping(ctx, "10.2.0.1", 2); err != nil {
				t.Error(err)
			}
		}
		if err := reader.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = reader.Wait() // it was killed
		if said := c.ends(t, 0); !strings.Contains(said, "the reader has gone") {
			t.Errorf("it said %q", said)
		}
	}
	r, w, err := os.Pipe() // which nobody reads, and which holds 64 KiB
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := e.capture(t, ctx, w, "peer", "--side", "clear")
	_ = w.Close()
	if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	for range 20 { // as much at once as fits everywhere
		if got, err := e.insideA.Ping(ctx, "10.2.0.1", 20, "-s", "1400"); err != nil || got.Received != 20 {
			t.Errorf("while nobody reads a capture: %+v %v", got, err)
		}
	}
	if err := c.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait() // it was killed
}

func (e *ends) captureRefused(t testing.TB, ctx context.Context) {
	t.Helper()
	older := filepath.Join(e.state, "older")
	if err := os.WriteFile(older, []byte("older"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"nobody", "-w", older}, 1, `warren: there is no tunnel "nobody"; there are: peer`},
		{[]string{"peer", "-w", "/dev/full"}, 1, "warren: write /dev/full: no space left on device"},
		{[]string{"peer", "-w", "/does/not/exist"}, 1, "warren: open /does/not/exist: no such file or directory"},
		{[]string{"peer", "--side", "left", "-w", older}, 2, "there are clear, sealed and both"},
		{[]string{"peer", "--duration", "0.1s", "-w", "/dev/null"}, 0, "warren: 0 packets captured, 0 missing; it took as long as was wanted"},
	} {
		if said := e.capture(t, ctx, nil, c.args...).ends(t, c.status); !strings.Contains(said, c.want) || strings.Count(said, "\n") != 1 {
			t.Errorf("warren capture %v: %q, want %q", c.args, said, c.want)
		}
	}
	if b, err := os.ReadFile(older); string(b) != "older" {
		t.Errorf("an older file is now %q, %v", b, err)
	}
}
