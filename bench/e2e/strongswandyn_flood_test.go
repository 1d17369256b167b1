//go:build linux

package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
	"github.com/warrenvpn/warren/tunnel/ike"
	"github.com/warrenvpn/warren/tunnel/ike/message"
	"github.com/warrenvpn/warren/tunnel/ike/proposal"
)

// flood begins IKE SAs with b as a would, and never goes on with one.
type flood struct {
	socket          *net.UDPConn
	to              netip.AddrPort
	datagram        []byte // IKE_SA_INIT; its first eight octets, the SPI, change
	sent            int
	cookies, halves int // answers that ask for a cookie, and that began an IKE SA
	running         sync.WaitGroup
	stop            context.CancelFunc
}

// spis are those of nobody.
type spis struct{}

func (spis) Allocate(string) (uint32, error) { return 1 << 20, nil }
func (spis) Release(uint32)                  {}

func newFlood(p *keyedPair) (*flood, error) {
	f := &flood{to: netip.AddrPortFrom(p.b.outer, 500)}
	machine, err := ike.New(ike.Config{Rand: rand.Reader, SPIs: spis{}})
	if err != nil {
		return nil, err
	}
	proposals, err := proposal.ParseIKE("aes128gcm16-prfsha256-curve25519")
	if err != nil {
		return nil, err
	}
	esp, _, err := proposal.ParseESP("aes128gcm16")
	if err != nil {
		return nil, err
	}
	nobody := message.ID{Type: message.IDFQDN, Data: []byte("nobody.example")}
	actions, err := machine.AddPeer(time.Now(), ike.PeerConfig{Name: "b", Local: p.a.outer, Remote: p.b.outer, Proposals: proposals,
		Credentials: &ike.PSK{Secret: ike.Secret("unknown"), Local: nobody}, Children: []ike.ChildConfig{{Name: "c", Start: true, Proposals: esp}}})
	if err != nil {
		return nil, err
	}
	for _, a := range actions {
		if s, ok := a.(ike.Send); ok {
			f.datagram = append([]byte(nil), s.Datagram...)
		}
	}
	err = p.a.host.Inside(func() (err error) {
		f.socket, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.a.outer, 0)))
		return err
	})
	if err == nil {
		err = f.socket.SetReadBuffer(4 << 20)
	}
	return f, err
}

// run sends so many a second until close.
func (f *flood) run(rate int) {
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	f.running.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		begin := time.Now()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			due := int(time.Since(begin).Seconds() * float64(rate))
			if late := due - rate/10; f.sent < late { // what a machine that stood still could not send is not sent at once
				begin = begin.Add(time.Duration(late-f.sent) * time.Second / time.Duration(rate))
				due = f.sent + rate/10
			}
			for ; f.sent < due; f.sent++ {
				_, _ = rand.Read(f.datagram[:8])
				_, _ = f.socket.WriteToUDPAddrPort(f.datagram, f.to) // what does not leave is not sent
			}
		}
	})
	f.running.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, err := f.socket.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			m, err := message.Parse(buf[:n])
			if err != nil {
				continue
			}
			for _, payload := range m.Payloads {
				switch p := payload.(type) {
				case *message.SA:
					f.halves++
				case *message.Notify:
					if p.Type == message.Cookie {
						f.cookies++
					}
				}
			}
		}
	})
}

func (f *flood) close() {
	if f.stop != nil {
		f.stop()
	}
	_ = f.socket.Close()
	f.running.Wait()
}

// resident is the memory of an end's process in bytes.
func (e *keyed) resident() (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.daemon.PID()))
	if err != nil {
		return 0, err
	}
	var kB int
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	_, err = fmt.Sscan(rest, &kB)
	return kB << 10, err
}

// underFlood has a tunnel up with traffic, floods b, and does meanwhile what peers do.
func underFlood(ctx context.Context, p *keyedPair) error {
	if err := p.initiate(ctx, p.a); err != nil {
		return err
	}
	before, err := p.b.resident()
	if err != nil {
		return err
	}
	f, err := newFlood(p)
	if err != nil {
		return err
	}
	defer f.close()
	since := time.Now()
	if err := p.stream(4 * time.Millisecond); err != nil {
		return err
	}
	f.run(4000)
	for n := range 4 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second): // of the flood
		}
		if err := warren.NewClient(p.b.sock).Tunnel(ctx, "rekey", "peer", "peer"); err != nil {
			return err
		}
		err := within(ctx, "new keys in the flood", 20*time.Second, func(ctx context.Context) error {
			return lab.WaitFor(ctx, "a log line", func() error {
				if p.b.rekeyed(false) < n+1 {
					return errors.New("not there")
				}
				return nil
			})
		})
		if err != nil {
			return fmt.Errorf("%w\n%s", err, p.logs())
		}
	}
	if lost, sent := p.lost(ctx, since); lost > 0 {
		return fmt.Errorf("%d of %d lost in the flood\n%s%s", lost, sent, p.where(since), p.logs())
	}
	// Who means it comes in, by a cookie.
	if err := warren.NewClient(p.b.sock).Tunnel(ctx, "down", "peer", ""); err != nil {
		return err
	}
	if err := errors.Join(p.awaitSAs(ctx, p.a, 0, 0), p.initiate(ctx, p.a)); err != nil {
		return err
	}
	f.close()
	after, err := p.b.resident()
	if err != nil {
		return err
	}
	// A hundred half-open IKE SAs, which end after half a minute, are a few hundred kilobytes; the rest is garbage on its way.
	if f.halves > 150*(1+int(time.Since(since)/(30*time.Second))) || f.cookies < f.sent/2 || after-before > 24<<20 {
		return fmt.Errorf("%d sent, %d IKE SAs begun, %d cookies asked for; %d MiB of memory, %d before", f.sent, f.halves, f.cookies, after>>20, before>>20)
	}
	return nil
}

// TestFlood: half-open IKE SAs by the thousand, from the address of a peer. From a hundred on each has to show a cookie, so that
// memory is bounded; tunnels that are up carry, rekey, and come up.
func TestFlood(t *testing.T) {
	together(t, []run{{name: "flood", kinds: weWe, do: underFlood, timed: true}, {name: "flood", kinds: charonWe, do: underFlood, timed: true}})
}
