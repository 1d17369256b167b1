//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warrenvpn/warren/bench/lab"
)

// chain is a leaf with many authorities between it and the root.
type chain struct {
	leaf    identity
	between [][]byte // PEM, from the leaf upwards
}

func (p *pki) chain(name string, length int) (c chain) {
	p.t.Helper()
	by := p.root
	for i := range length {
		below := p.authority(fmt.Sprintf("Authority number %d on the long way down to %s", i, name), &by)
		c.between = append([][]byte{below.pem()}, c.between...)
		by = below
	}
	c.leaf = p.leaf(&by, name, newKey(p.t, "p256"))
	return c
}

// certify has an end prove itself with a chain, and trust the root.
func (p *keyedPair) certify(ctx context.Context, e *keyed, c chain, root []byte) error {
	if !e.ours {
		text := e.text
		e.text = "" // which needs the files, which need a charon
		if err := p.startEnd(ctx, e); err != nil {
			return err
		}
		errs := []error{e.charon.WriteFile("x509ca/root.pem", root), e.charon.WriteFile("x509/leaf.pem", c.leaf.cert), e.charon.WriteFile("private/leaf.key", c.leaf.key)}
		certs := "leaf.pem"
		for i, above := range c.between {
			name := fmt.Sprintf("above%d.pem", i)
			certs += ", " + name
			errs = append(errs, e.charon.WriteFile("x509/"+name, above))
		}
		text = strings.Replace(strings.ReplaceAll(text, "auth = psk", "auth = pubkey"), "local { auth", "local { certs = "+certs+"\n    auth", 1)
		errs = append(errs, os.WriteFile(e.charon.ConfigPath(), []byte(text), 0o600))
		return errors.Join(append(errs, e.charon.Load(ctx))...)
	}
	var errs []error
	file := func(name string, data []byte) string {
		path := filepath.Join(p.lab.Dir(), e.host.Name+"-"+name)
		errs = append(errs, os.WriteFile(path, data, 0o600))
		return path
	}
	var above []string
	for i, data := range c.between {
		above = append(above, file(fmt.Sprintf("above%d.pem", i), data))
	}
	auth := fmt.Sprintf("auth: {local: {cert: %s, key: %s, intermediates: [%s]}, remote: {ca: %s}}", file("leaf.pem", c.leaf.cert), file("leaf.key", c.leaf.key),
		strings.Join(above, ", "), file("root.pem", root))
	e.text = strings.Replace(e.text, `psk: "a secret of tests, long enough"`, auth, 1)
	return errors.Join(append(errs, p.startEnd(ctx, e))...)
}

// TestFragments: chains that no packet holds cross in fragments of RFC 7383, both ways.
func TestFragments(t *testing.T) {
	lab.Require(t, append(lab.StrongSwanPrograms, "ip", "ping")...)
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	authorities := newPKI(t)
	const above = 6 // charon verifies chains of up to seven
	chains := []chain{authorities.chain("a.example", above), authorities.chain("b.example", above)}
	ctx, program := limit(t), build(t)
	for _, k := range []kinds{weCharon, charonWe} {
		t.Run(k.String(), func(t *testing.T) {
			p, err := newKeyedPair(program, k, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := p.close(); err != nil {
					t.Error(err)
				}
			}()
			p.a.configure(p.b, settings{})
			p.b.configure(p.a, settings{})
			for i, e := range []*keyed{p.a, p.b} {
				if err := p.certify(ctx, e, chains[i], authorities.root.pem()); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.initiate(ctx, p.a); err != nil {
				t.Fatal(err)
			}
			charon := p.a
			if p.a.ours {
				charon = p.b
			}
			for _, way := range []string{"received fragment #3", "splitting IKE message"} {
				if !strings.Contains(charon.log(), way) {
					t.Errorf("not %q in\n%s", way, charon.log())
				}
			}
		})
	}
}
