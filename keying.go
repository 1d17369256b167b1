package warren

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/underlay/udp"
	"github.com/warrenvpn/warren/tunnel/ike"
)

// keying drives the IKE machine of a site: one goroutine owns it, hands it what arrives and what the clock says, and does
// what it wants. Workers and commands reach it through queues.
type keying struct {
	s        *site
	log      *slog.Logger
	endpoint *ike.Endpoint
	inbox    chan ikeMessage
	calls    chan func()
	ended    chan struct{} // closed when run has returned
	hits     chan *trapHit
	strays   *strays

	// Sockets by local address: of port 500, none where that could not be bound, and of ESP in UDP.
	plain, natt []dataplane.Underlay
	senders     map[dataplane.Underlay]dataplane.Sender

	// Of the goroutine that runs it.
	tunnels  map[string]*tunnel // by peer's name
	clients  map[uint64]*client // instances of templates, by IKE SA
	children map[uint32]*liveChild
	up       map[uint64]string // peers' names, by IKE SA
	pools    map[string]*pool
	keepers  []*keepUp
	back     []heldBack // by time
	leaving  bool
}

// ikeMessage is a datagram of IKE.
type ikeMessage struct {
	local, remote netip.AddrPort
	natt          bool
	data          []byte
}

// inboxRoom is how many messages may wait: as many as a thousand peers that restart at once send in a moment.
const inboxRoom = 4096

func newKeying(s *site) *keying {
	return &keying{s: s, log: s.log.With("protocol", "ike"), inbox: make(chan ikeMessage, inboxRoom), calls: make(chan func()), ended: make(chan struct{}), hits: make(chan *trapHit, 1024),
		strays:  newStrays(),
		senders: map[dataplane.Underlay]dataplane.Sender{}, tunnels: map[string]*tunnel{}, clients: map[uint64]*client{},
		children: map[uint32]*liveChild{}, up: map[uint64]string{}, pools: map[string]*pool{}}
}

// wantsIKE says whether any tunnel negotiates its keys.
func (c *Config) wantsIKE() bool {
	for i := range c.Tunnels {
		if p := c.Tunnels[i].IPsec; p != nil && p.IKE != nil {
			return true
		}
	}
	return false
}

// receive takes a message from a worker, and reports false where there is no room for it.
func (k *keying) receive(u dataplane.Underlay, from netip.AddrPort, natt bool, data []byte) bool {
	m := ikeMessage{local: u.Local(), remote: from, natt: natt, data: bytes.Clone(data)}
	if m.local.Addr().IsUnspecified() {
		m.local = netip.AddrPort{}
	}
	select {
	case k.inbox <- m:
		return true
	default:
		return false
	}
}

// ikeOpener takes what arrives on port 500: all of it is IKE.
type ikeOpener struct{ k *keying }

// Open implements dataplane.Opener.
func (o ikeOpener) Open(ctx *dataplane.Ctx, u dataplane.Underlay, t *dataplane.Train, _ *packet.Batch) {
	for rest := t.Data; len(rest) > 0; {
		d := rest
		if t.Size > 0 && len(d) > t.Size {
			d = rest[:t.Size]
		}
		rest = rest[len(d):]
		if !o.k.receive(u, t.Remote, false, d) {
			ctx.Counters.Drop(packet.UnderlayFull, 0, 1)
		}
	}
}

// PathError implements dataplane.Opener. Nobody authenticated it: retransmission decides.
func (ikeOpener) PathError(dataplane.Underlay, *dataplane.PathError) {}

// openSockets opens port 500 beside each underlay of ESP in UDP. Where one cannot be had all goes over the port of ESP in UDP.
func (k *keying) openSockets(network Network) error {
	for _, u := range k.s.underlays {
		if u.Encap().UDP {
			k.natt = append(k.natt, u)
		}
	}
	cfg := &k.s.cfg.Underlay
	if cfg.IKEPort == NoIKEPort {
		return nil
	}
	port := uint16(cfg.IKEPort)
	if port == 0 {
		port = DefaultIKEPort
	}
	var opened []dataplane.Underlay
	for _, natt := range k.natt {
		local := netip.AddrPortFrom(natt.Local().Addr(), port)
		var u dataplane.Underlay
		var err error
		if network != nil {
			u, err = network.Underlay(local, 1)
		} else {
			u, err = udp.Open(udp.Config{Local: local, Device: cfg.Device, Mark: cfg.Mark, NetNS: cfg.NetNS, Queues: 1, Logger: k.s.log})
		}
		if err != nil {
			k.log.Warn("key exchange begins on the port of ESP in UDP, since its own cannot be bound", "port", port, "error", err)
			for _, u := range opened {
				err = errors.Join(err, u.Close())
			}
			return nil
		}
		opened = append(opened, u)
	}
	for _, u := range opened {
		if err := k.s.addUnderlay(u, ikeOpener{k}); err != nil {
			return err
		}
		k.plain = append(k.plain, u)
	}
	return nil
}

// open makes the machine and gives it the peers; it does nothing before run.
func (k *keying) open() (err error) {
	for i := range k.s.cfg.Pools {
		p := &k.s.cfg.Pools[i]
		k.pools[p.Name] = newPool(p, k.s.taken())
	}
	cfg := ike.Config{Rand: rand.Reader, SPIs: k, NATPort: int(k.s.cfg.Underlay.UDPPort), Port: k.s.cfg.Underlay.IKEPort}
	again := &k.s.cfg.IKE
	cfg.Retransmit = ike.Retransmit{Timeout: again.RetransmitTimeout, Base: again.RetransmitBase, Tries: again.RetransmitTries}
	cfg.ExportKeys = k.s.export != nil
	if len(k.plain) == 0 {
		cfg.Port = ike.NoPort
	}
	k.endpoint, err = ike.New(cfg)
	return err
}

// begin hands a tunnel to the machine, which does what its start action says.
func (k *keying) begin(t *tunnel) error {
	p, err := t.cfg.IPsec.peer(t.cfg.Name, k.s.cfg.localOf(t.cfg.IPsec))
	if err != nil {
		return err
	}
	if name := t.cfg.IPsec.IKE.Pool; name != "" {
		p.Pool = k.pools[name]
	}
	if p.Encap == ike.EncapAuto && k.s.underlayFor(p.Local, p.Remote, false) == nil {
		p.Encap = ike.EncapAlways // without raw sockets, which want a privilege, there is only UDP
	}
	k.tunnels[p.Name] = t
	actions, err := k.endpoint.AddPeer(time.Now(), p)
	k.do(actions)
	return err
}

// Allocate implements ike.SPIs: the residue of the SPI spreads tunnels over workers.
func (k *keying) Allocate(peer string) (uint32, error) {
	shard := 0
	if t := k.tunnels[peer]; t != nil {
		shard = int(t.index) % k.s.queues
	}
	return k.s.gateway.AllocateSPI(k.s.queues, shard)
}

// Release implements ike.SPIs.
func (k *keying) Release(spi uint32) { k.s.gateway.ReleaseSPI(spi) }

// run drives the machine until ctx ends.
func (k *keying) run(ctx context.Context) error {
	defer close(k.ended)
	for _, t := range slices.Concat(k.s.allTunnels(), k.s.allTemplates()) {
		if t.cfg.IPsec != nil && t.cfg.IPsec.IKE != nil {
			if err := k.begin(t); err != nil {
				return fmt.Errorf("tunnel %q: %w", t.cfg.Name, err)
			}
		}
	}
	k.keepers = k.s.keepers()
	deadline := time.NewTimer(0)
	defer deadline.Stop()
	look := time.NewTicker(250 * time.Millisecond)
	defer look.Stop()
	for {
		deadline.Stop()
		if at := k.deadline(); !at.IsZero() {
			deadline.Reset(time.Until(at))
		}
		select {
		case <-ctx.Done():
			return nil
		case m := <-k.inbox:
			k.do(k.endpoint.Receive(time.Now(), m.local, m.remote, m.natt, m.data))
		case f := <-k.calls:
			f()
		case h := <-k.hits:
			h.taken.Store(false)
			if actions, err := k.endpoint.TrapHit(time.Now(), h.peer, h.child); err == nil {
				k.do(actions)
			}
		case s := <-k.strays.told:
			k.do(k.endpoint.Stray(time.Now(), s.from, s.spi))
		case <-deadline.C:
			k.do(k.endpoint.Tick(time.Now()))
			k.releaseDue(time.Now())
		case <-look.C:
			k.look()
			k.strays.again()
		}
	}
}

// call runs f in the goroutine that owns the machine, and returns what it returns.
func (k *keying) call(ctx context.Context, f func(now time.Time) ([]ike.Action, error)) error {
	done := make(chan error, 1)
	g := func() {
		actions, err := f(time.Now())
		k.do(actions)
		done <- err
	}
	select {
	case k.calls <- g:
		return <-done
	case <-k.ended:
		return ErrNotUp
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leave deletes all SAs, telling the peers.
func (k *keying) leave(ctx context.Context) {
	_ = k.call(ctx, func(now time.Time) ([]ike.Action, error) { // what fails is that the engine ends anyway
		k.leaving = true
		return k.endpoint.Stop(now), nil
	})
}

// handOver leaves SAs to their peers: the engine that takes our place negotiates others, and says INITIAL_CONTACT (RFC 7296 section
// 2.4). Only peers that we wait for are told that ours are no more, as they must begin.
func (k *keying) handOver(ctx context.Context) {
	_ = k.call(ctx, func(now time.Time) (all []ike.Action, err error) { // what fails is that the engine ends anyway
		k.leaving = true
		for name, t := range k.tunnels {
			if t.begins() {
				continue
			}
			actions, err := k.endpoint.RemovePeer(now, name)
			if err == nil {
				all = append(all, actions...)
			}
		}
		return all, nil
	})
}

// begins says whether we bring the tunnel up, by ourselves or for a packet.
func (t *tunnel) begins() bool {
	return slices.ContainsFunc(t.cfg.IPsec.IKE.Children, func(c IKEChildConfig) bool { return c.StartAction != StartNone })
}

// do carries out what the machine wants, in order.
func (k *keying) do(actions []ike.Action) {
	for i, a := range actions {
		switch a := a.(type) {
		case ike.Send:
			k.send(a)
		case ike.IKEUp:
			k.ikeUp(&a)
		case ike.IKERekeyed:
			k.log.Info("IKE SA was rekeyed", "tunnel", a.Peer, "suite", a.Suite)
		case ike.IKEDown:
			k.ikeDown(&a)
		case ike.PeerMoved:
			k.peerMoved(&a)
		case ike.ChildUp:
			k.childUp(&a.ChildSA)
		case ike.ChildRekeyed:
			k.childRekeyed(&a)
		case ike.ChildOutbound:
			k.outbound(a.In)
		case ike.ChildDown:
			k.childDown(&a, actions[i+1:])
		case ike.Trap:
			k.trap(&a)
		case ike.IKEKeys:
			if row, ok := a.Wireshark(); ok {
				k.s.export.write(ikeKeys, row)
			}
		case ike.Log:
			k.note(&a)
		}
	}
}

// note writes the machine's log.
func (k *keying) note(l *ike.Log) {
	var attrs []any
	if l.Peer != "" {
		attrs = append(attrs, "tunnel", l.Peer)
	}
	if l.IKE != 0 {
		attrs = append(attrs, "ike", l.IKE)
	}
	if l.Err != nil {
		attrs = append(attrs, "error", l.Err)
	}
	k.log.Log(context.Background(), l.Level, l.Text, attrs...)
}

// marker is the non-ESP marker (RFC 3948 section 2.2).
var marker [4]byte

// send sends a message of the machine's.
func (k *keying) send(a ike.Send) {
	sockets := k.plain
	if a.NATT {
		sockets = k.natt
	}
	u := localTo(sockets, a.From.Addr(), a.To.Addr())
	if u == nil {
		k.log.Warn("no socket to send from", "from", a.From, "to", a.To)
		return
	}
	data := a.Datagram
	if a.NATT && !(len(data) == 1 && data[0] == 0xff) {
		data = append(marker[:len(marker):len(marker)], data...)
	}
	sender := k.senders[u]
	if sender == nil {
		sender = u.NewSender()
		k.senders[u] = sender
	}
	sender.Send([]dataplane.Frame{{Data: data, Path: &dataplane.Path{Underlay: u, Remote: a.To}}})
}

// localTo returns the socket with a local address, or where that is not known the first of the peer's family.
func localTo(sockets []dataplane.Underlay, local, remote netip.Addr) dataplane.Underlay {
	for _, u := range sockets {
		own := u.Local().Addr()
		if own.Unmap().Is4() == remote.Is4() && (!local.IsValid() || own == local || own.IsUnspecified()) {
			return u
		}
	}
	return nil
}
