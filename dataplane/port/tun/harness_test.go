package tun

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	innetns "github.com/warrenvpn/warren/dataplane/internal/netns"
	"github.com/warrenvpn/warren/dataplane/packet"
)

const arena = 4 * (packet.HeadRoom + packet.MaxSize + packet.TailRoom + 64)

// patience bounds every wait; nothing waits for it to pass.
const patience = time.Minute

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces and TUN devices")
	}
}

// space makes a network namespace that goes with the test, and returns its name.
func space(t testing.TB, what string) string {
	t.Helper()
	needRoot(t)
	name := fmt.Sprintf("wtun%d%s", os.Getpid(), what)
	onThread(t, func() error {
		home, err := netns.Get()
		if err != nil {
			return err
		}
		defer home.Close()
		h, err := netns.NewNamed(name)
		if err != nil {
			return err
		}
		defer h.Close()
		t.Cleanup(func() { _ = netns.DeleteNamed(name) })
		// No link-local addresses: neighbour discovery and the like would mix with what tests count.
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/addr_gen_mode", []byte("1"), 0); err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		return errors.Join(err, netns.Set(home))
	})
	return name
}

// onThread runs f on a thread that ends with it.
func onThread(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// in runs f in a namespace.
func in(t testing.TB, ns string, f func() error) {
	t.Helper()
	if err := innetns.Do(ns, f); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, cfg Config) *Device {
	t.Helper()
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func prefixes(s ...string) (out []netip.Prefix) {
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// exists says whether a namespace has a device of that name.
func exists(t testing.TB, ns, name string) (there bool) {
	t.Helper()
	in(t, ns, func() error {
		_, err := netlink.LinkByName(name)
		there = err == nil
		return nil
	})
	return there
}

func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// serve reads batches and hands them to f until the device is closed.
func serve(t testing.TB, wg *sync.WaitGroup, r dataplane.PortReader, f func(pkts []packet.Packet)) {
	wg.Go(func() {
		b := packet.NewBatch(arena)
		for {
			err := r.Read(b)
			if errors.Is(err, dataplane.ErrClosed) {
				return
			}
			if err != nil {
				t.Errorf("read: %v", err)
				return
			}
			f(b.Packets())
		}
	})
}

// logged is a logger whose lines a test reads.
func logged() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

// flags of a device as ip(8) shows them.
func flags(t testing.TB, ns, name string) (raw uint32, mtu, qlen int) {
	t.Helper()
	in(t, ns, func() error {
		l, err := netlink.LinkByName(name)
		if err == nil {
			raw, mtu, qlen = l.Attrs().RawFlags, l.Attrs().MTU, l.Attrs().TxQLen
		}
		return err
	})
	return raw & (unix.IFF_UP | unix.IFF_LOWER_UP), mtu, qlen
}
