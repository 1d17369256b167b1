//go:build linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warrenvpn/warren/bench/lab"
)

// overhead is a line of the design's table for a path of 1500 bytes: the inner MTU, and how long the frame of such a packet is.
type overhead struct {
	suite, encap string
	v6           bool
	inner, outer int
}

var overheads = []overhead{
	{"aes128gcm16", "never", false, 1446, 1500}, {"aes128gcm16", "always", false, 1438, 1500},
	{"aes128gcm16", "never", true, 1426, 1500}, {"aes128gcm16", "always", true, 1418, 1500},
	{"aes256-sha256", "never", false, 1438, 1500}, {"aes256-sha256", "always", false, 1422, 1492},
	{"aes256-sha256", "never", true, 1406, 1488}, {"aes256-sha256", "always", true, 1406, 1496},
}

func (o *overhead) String() string {
	return fmt.Sprintf("%s, encap %s, IPv6 outside %v", o.suite, o.encap, o.v6)
}

// edit puts the suite and the addresses into a configuration, and has keys exported for the one who looks at the wire.
func (o *overhead) edit(p *keyedPair, text string) string {
	charon := strings.HasPrefix(text, "connections")
	suite := o.suite + "-noesn"
	if charon {
		suite = o.suite
	}
	for _, key := range []string{"esp_proposals: ", "esp_proposals = "} {
		text = strings.Replace(text, key+"aes128gcm16", key+suite, 1)
	}
	if o.v6 {
		a, b := lab.PairA6, lab.PairB6
		if !charon {
			a, b = `"`+a+`"`, `"`+b+`"`
		}
		text = strings.NewReplacer(lab.PairA4, a, lab.PairB4, b).Replace(text)
	}
	if !charon {
		text = "key_export: " + p.keys() + "\n" + text
	}
	return text
}

// keys is where keys are exported to.
func (p *keyedPair) keys() string { return filepath.Join(p.lab.Dir(), "keys") }

// fits sends what fits exactly and a byte more, one way or both ways, and looks at the frames.
func (o *overhead) fits(ctx context.Context, p *keyedPair) error {
	if err := p.initiate(ctx, p.a); err != nil {
		return err
	}
	capture, err := p.a.host.Capture(ctx, "eth0", "ip proto 50 or ip6 proto 50 or udp port 4500")
	if err != nil {
		return err
	}
	var senders []*keyed
	for _, e := range []*keyed{p.a, p.b} {
		if e.ours {
			senders = append(senders, e)
		}
	}
	const headers = 28 // of IPv4 and ICMP
	for _, e := range senders {
		ping := func(size int) (lab.PingResult, error) {
			return e.inside.Ping(ctx, p.other(e).inner.String(), 1, "-I", e.inner.String(), "-M", "do", "-s", fmt.Sprint(size-headers))
		}
		// The first one may meet the device with an MTU from before; what it is told is what the second one does.
		if err := e.inside.WaitReachable(ctx, p.other(e).inner.String(), "-I", e.inner.String(), "-M", "do", "-s", fmt.Sprint(o.inner-headers)); err != nil {
			return fmt.Errorf("%d bytes from %s: %w\n%s", o.inner, e.host.Name, err, p.logs())
		}
		r, err := ping(o.inner + 1)
		if r.Received > 0 || !strings.Contains(r.Output, fmt.Sprintf("mtu = %d", o.inner)) && !strings.Contains(fmt.Sprint(r.Output, err), fmt.Sprintf("mtu=%d", o.inner)) {
			return fmt.Errorf("%d bytes from %s: %v: %s", o.inner+1, e.host.Name, err, r.Output)
		}
	}
	if err := capture.Stop(); err != nil {
		return err
	}
	return o.look(ctx, p, capture.Path(), senders)
}

// look has tshark verify, decrypt and measure the echo requests of that size.
func (o *overhead) look(ctx context.Context, p *keyedPair, file string, senders []*keyed) error {
	program, err := lab.Look("tshark")
	if err != nil {
		return err
	}
	args := []string{"-n", "-r", file, "-Y", "icmp.type == 8", "-o", "esp.enable_encryption_decode:TRUE", "-o", "esp.enable_authentication_check:TRUE",
		"-T", "fields", "-E", "separator=/s", "-e", "esp.icv_good", "-e", "ip.src", "-e", "ip.len", "-e", "ipv6.plen"}
	rows, err := os.ReadFile(filepath.Join(p.keys(), "esp_sa"))
	if err != nil {
		return err
	}
	for row := range strings.Lines(string(rows)) {
		args = append(args, "-o", "uat:esp_sa:"+strings.TrimSpace(row))
	}
	out, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		return fmt.Errorf("tshark: %w", err)
	}
	for _, e := range senders {
		want := fmt.Sprintf("1 %v,%v %d,%d ", e.outer, e.inner, o.outer, o.inner)
		if o.v6 {
			const header = 40 // which the payload length leaves out
			want = fmt.Sprintf("1 %v %d %d", e.inner, o.inner, o.outer-header)
		}
		if !strings.Contains(string(out)+"\n", want) {
			return fmt.Errorf("no frame %q in\n%s", want, out)
		}
	}
	return nil
}

// TestMTU: what fits exactly crosses, and what is a byte longer is answered with packet too big, as the design's table has it:
// both ways between two of ours, and to charon in UDP. The frames are as long as they may be, and tshark finds the packets in
// them.
func TestMTU(t *testing.T) {
	lab.Require(t, "tcpdump", "tshark")
	var runs []run
	for i := range overheads {
		o := &overheads[i]
		with := settings{encap: o.encap}
		runs = append(runs, run{name: o.String(), kinds: weWe, a: with, b: with, edit: o.edit, do: o.fits})
		if o.encap == "always" {
			runs = append(runs, run{name: o.String(), kinds: weCharon, a: with, edit: o.edit, do: o.fits})
		}
	}
	together(t, runs)
}
