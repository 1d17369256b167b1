//go:build linux

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/warrenvpn/warren/bench/lab"
)

// TestWireGuardInWireshark: with what key_export writes, Wireshark sees what goes through the tunnel, in each session, whoever began
// it; without, nothing.
func TestWireGuardInWireshark(t *testing.T) {
	w := newWG(t, "tcpdump", "tshark")
	wholeFrames(t, w.a, w.b)
	keys := filepath.Join(w.dir, "keys")
	w.startTheirs(lab.PairA4 + ":51820")
	w.startOurs(w.config(lab.PairB4+":51820", "", "key_export: "+keys))
	c, err := w.b.Capture(w.ctx, "eth0", "udp port 51820")
	w.must(err)
	w.first(w.b, "10.1.0.1") // they begin
	before := w.handshake()
	w.must(w.client.Tunnel(w.ctx, "rekey", "peer", ""))
	w.eventually("another session", func() error {
		if w.handshake() == before || w.sessions(c) < 2 {
			return errors.New("not yet")
		}
		return nil
	})
	w.first(w.ia, "fd02::1")
	w.stop()
	w.must(c.Stop())
	out := w.run(w.a, "tshark", "-o", "wg.keylog_file:"+filepath.Join(keys, "wireguard.keys"), "-r", c.Path(), "-Y", "icmp or icmpv6")
	for _, want := range []string{`10\.2\.0\.1 → 10\.1\.0\.1 +ICMP .*request`, `fd02::1 → fd01::1 +ICMPv6 .*reply`} {
		if n := len(regexp.MustCompile(want).FindAllString(out, -1)); n < 3 { // first goes on until three were answered
			t.Errorf("%d times %q:\n%s", n, want, out)
		}
	}
	if !strings.Contains(w.warren.Log(), "who reads them can decrypt the traffic") {
		t.Errorf("no warning:\n%s", w.warren.Log())
	}
}

// sessions is how many answers to initiations were captured.
func (w *wg) sessions(c *lab.Capture) int {
	w.t.Helper()
	return strings.Count(w.seen(c, "udp[8] == 2"), "\n")
}

// TestWireGuardWithoutWg: where the socket for wg(8) cannot be made the engine runs without it, unless it was asked for by name.
func TestWireGuardWithoutWg(t *testing.T) {
	w := newWG(t)
	w.startTheirs("")
	own := filepath.Join(w.dir, "run")
	w.must(os.MkdirAll(own, 0o700))
	conf := strings.Replace(w.config(lab.PairB4+":51820", "", ""), ", interface: "+w.device, "", 1)
	path := filepath.Join(w.dir, "w.yaml")
	w.must(os.WriteFile(path, []byte(conf), 0o600))
	start := func(script string) *lab.Process {
		t.Helper()
		p, err := w.a.Start("sh", "-c", script+`; exec "$@"`, own, w.program, "run", "--socket", filepath.Join(w.dir, "w.sock"), path)
		w.must(err)
		return p
	}
	const readOnly = `set -e; mkdir -p /var/run/wireguard; mount --bind "$0" /var/run/wireguard; mount -o remount,ro,bind /var/run/wireguard`
	p := start(readOnly)
	w.must(p.WaitLog(w.ctx, "engine is up"))
	w.reach(w.ia, "10.2.0.1")
	w.must(p.Stop())
	if log := p.Log(); !strings.Contains(log, "wg cannot show and change the engine") {
		t.Errorf("it is not said:\n%s", log)
	}
	w.must(os.WriteFile(path, []byte(w.config(lab.PairB4+":51820", "", "")), 0o600))
	p = start(readOnly)
	<-p.Done()
	if err := p.Err(); err == nil || !strings.Contains(p.Log(), "wireguard") {
		t.Errorf("a device that was asked for: %v\n%s", err, p.Log())
	}
}

// TestWireGuardKeysOfTheProgram: genkey, pubkey and genpsk make what wg(8) takes, and nothing else is taken.
func TestWireGuardKeysOfTheProgram(t *testing.T) {
	lab.Require(t, "wg")
	program := build(t)
	pipe := func(stdin, name string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, make := range []string{"genkey", "genpsk"} {
		key, err := pipe("", program, make)
		if err != nil {
			t.Fatal(err)
		}
		ours, err1 := pipe(key, program, "pubkey")
		theirs, err2 := pipe(key, "wg", "pubkey")
		if err1 != nil || err2 != nil || ours != theirs {
			t.Errorf("%s: pubkey %q %v, wg pubkey %q %v", make, ours, err1, theirs, err2)
		}
	}
	if out, err := pipe("no key", program, "pubkey"); err == nil || strings.Contains(out, "no key\n") {
		t.Errorf("pubkey of what is no key: %v %s", err, out)
	}
}
