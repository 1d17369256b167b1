package udp

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	inns "github.com/warrenvpn/warren/dataplane/internal/netns"
	"github.com/warrenvpn/warren/dataplane/packet"
)

// logged is a logger whose lines a test reads.
func logged() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

// collectAny receives n datagrams at whichever queue of s they come to.
func collectAny(t *testing.T, s *Socket, n int) (all [][]byte) {
	t.Helper()
	arrived := make(chan []byte, n)
	var wg sync.WaitGroup
	for _, r := range s.Receivers() {
		wg.Go(func() {
			var rx dataplane.Rx
			for r.Recv(&rx) == nil {
				for _, tr := range rx.Trains {
					for b := tr.Data; len(b) > 0; b = b[min(tr.Size, len(b)):] {
						arrived <- bytes.Clone(b[:min(tr.Size, len(b))])
					}
				}
			}
		})
	}
	deadline := time.After(5 * time.Second)
	for len(all) < n {
		select {
		case b := <-arrived:
			all = append(all, b)
		case <-deadline:
			t.Fatalf("%d datagrams of %d within five seconds", len(all), n)
		}
	}
	_ = s.Close()
	wg.Wait()
	return all
}

// TestFallbacksWorkAndSaySoOnce: whatever the kernel lacks, every frame arrives whole at some worker, and the log has one
// line for each thing that is missing however much was sent.
func TestFallbacksWorkAndSaySoOnce(t *testing.T) {
	const gso, gro, steering = "no UDP segmentation offload", "no UDP receive offload", "cannot steer datagrams"
	for _, c := range []struct {
		lacks lacks
		says  []string
	}{
		{lacks{}, nil},
		{lacks{gso: true}, []string{gso}},
		{lacks{gro: true}, []string{gro}},
		{lacks{steering: true}, []string{steering}},
		{lacks{true, true, true}, []string{gso, gro, steering}},
	} {
		t.Run(fmt.Sprintf("%+v", c.lacks), func(t *testing.T) {
			log, lines := logged()
			a := open(t, Config{Local: local4, Queues: 3, lacks: c.lacks, Logger: log})
			b := open(t, Config{Local: local4, Queues: 3, lacks: c.lacks})
			p := &dataplane.Path{Underlay: a, Remote: b.Local()}
			want := map[string]bool{}
			for spi := uint32(3000); spi < 3006; spi++ {
				fs := espFrames(p, spi, 20, 900)
				a.NewSender().Send(fs)
				for _, f := range fs {
					if want[string(f.Data)] = true; f.Drop != packet.None {
						t.Fatalf("not sent: %v", f.Drop)
					}
				}
			}
			for _, got := range collectAny(t, b, len(want)) {
				if !want[string(got)] {
					t.Fatalf("%d bytes that were not sent, or came twice", len(got))
				}
				delete(want, string(got))
			}
			for _, s := range c.says {
				if strings.Count(lines.String(), s) != 1 {
					t.Errorf("%q is not said once in:\n%s", s, lines)
				}
			}
			if n := strings.Count(lines.String(), "\n"); n != len(c.says) {
				t.Errorf("%d lines, want %d:\n%s", n, len(c.says), lines)
			}
		})
	}
}

// TestWithoutSteeringDFStays: then there is no second socket to clear DF on, since the kernel might deliver to it.
func TestWithoutSteeringDFStays(t *testing.T) {
	for _, lacking := range []bool{false, true} {
		a, b := open(t, Config{Local: local4, lacks: lacks{steering: lacking}}), open(t, Config{Local: local4})
		fs := []dataplane.Frame{{Data: make([]byte, 65507), Path: &dataplane.Path{Underlay: a, Remote: b.Local()}}}
		if a.socks.ClearDF >= 0 == lacking {
			t.Errorf("steering lacks: %v, socket that clears DF: %d", lacking, a.socks.ClearDF)
		}
		if a.NewSender().Send(fs); fs[0].Drop != packet.None {
			t.Errorf("steering lacks: %v: %v", lacking, fs[0].Drop)
		}
	}
}

// TestRouteThatCannotSegment: the kernel takes UDP_SEGMENT, but refuses it (EIO) on a route that its own IPsec transforms.
// Nothing is lost, the log has one line, and what follows is not tried so again.
func TestRouteThatCannotSegment(t *testing.T) {
	ns := transformed(t)
	log, lines := logged()
	a := open(t, Config{Local: netip.MustParseAddrPort("127.0.0.1:0"), NetNS: ns, Logger: log})
	b := open(t, Config{Local: netip.MustParseAddrPort("127.0.0.2:0"), NetNS: ns})
	if !a.gso.Load() {
		t.Fatalf("no segmentation to begin with:\n%s", lines)
	}
	p, s := &dataplane.Path{Underlay: a, Remote: b.Local()}, a.NewSender()
	for range 3 {
		fs := espFrames(p, 0x1001, 30, 700)
		fs[29].Data = fs[29].Data[:300]
		s.Send(fs)
		for i, g := range collect(t, b.Receivers()[0], len(fs)) {
			if fs[i].Drop != packet.None || !bytes.Equal(g.data, fs[i].Data) {
				t.Fatalf("frame %d: %v, %d bytes arrived", i, fs[i].Drop, len(g.data))
			}
		}
	}
	if a.gso.Load() || strings.Count(lines.String(), "\n") != 1 || !strings.Contains(lines.String(), "device cannot segment UDP") {
		t.Errorf("segmentation still on: %v; said\n%s", a.gso.Load(), lines)
	}
}

// transformed makes a namespace in which the kernel encrypts what goes from 127.0.0.1 to 127.0.0.2.
func transformed(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	name := fmt.Sprintf("wudp%dx", os.Getpid())
	if err := makeNamespace(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netns.DeleteNamed(name) })
	src, dst := net.IPv4(127, 0, 0, 1), net.IPv4(127, 0, 0, 2)
	err := inns.Do(name, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetUp(lo),
			os.WriteFile("/proc/sys/net/ipv4/conf/lo/disable_xfrm", []byte("0"), 0),
			netlink.XfrmStateAdd(&netlink.XfrmState{Src: src, Dst: dst, Proto: netlink.XFRM_PROTO_ESP, Mode: netlink.XFRM_MODE_TRANSPORT, Spi: 0x777,
				Crypt: &netlink.XfrmStateAlgo{Name: "ecb(cipher_null)"}, Auth: &netlink.XfrmStateAlgo{Name: "hmac(sha256)", Key: make([]byte, 32)}}),
			netlink.XfrmPolicyAdd(&netlink.XfrmPolicy{Src: host(src), Dst: host(dst), Dir: netlink.XFRM_DIR_OUT,
				Tmpls: []netlink.XfrmPolicyTmpl{{Proto: netlink.XFRM_PROTO_ESP, Mode: netlink.XFRM_MODE_TRANSPORT, Spi: 0x777}}}))
	})
	if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ENOSYS) {
		t.Skip("this kernel has no IPsec of its own, which would refuse to segment:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// makeNamespace leaves the caller's thread where it was.
func makeNamespace(name string) error {
	return inns.Do("/proc/self/ns/net", func() error {
		home, err := netns.Get()
		if err != nil {
			return err
		}
		defer home.Close()
		h, err := netns.NewNamed(name)
		if err != nil {
			return err
		}
		return errors.Join(h.Close(), netns.Set(home))
	})
}

func host(ip net.IP) *net.IPNet { return &net.IPNet{IP: ip, Mask: net.CIDRMask(32, 32)} }
