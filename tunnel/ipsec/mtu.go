package ipsec

// lowerMTU believes an ICMP error, within the floors.
func (t *Tunnel) lowerMTU(mtu int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.path.Load()
	if p == nil {
		return
	}
	mtu, changed := t.mtu.Lower(p, mtu, t.gw.now())
	if !changed {
		return
	}
	t.recompute()
	t.log.Info("path MTU lowered, larger frames came to nothing", "peer", p.Remote, "mtu", mtu, "inner_mtu", t.InnerMTU())
}

// recompute derives the inner MTU from the path's and from the suites in use. The caller holds t.mu.
func (t *Tunnel) recompute() {
	room := t.mtu.Room(t.path.Load())
	inner := room
	for _, c := range t.children {
		inner = min(inner, c.Out.MaxInner(room))
	}
	if t.cfg.MTU > 0 {
		inner = t.cfg.MTU
	}
	t.outer.Store(int32(room))
	t.inner.Store(int32(inner))
}
