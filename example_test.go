package warren_test

import (
	"context"
	"fmt"
	"io"
	"log"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
)

const siteA = `
underlay: {addresses: [192.0.2.1]}
vrfs:
  main: {port: {netstack: {addresses: [10.1.0.1/16]}}}
tunnels:
  b:
    ipsec:
      remote: 192.0.2.2
      static:
        esp: aes128gcm16
        out: {spi: 0xc1890b6e, key: "0x0102030405060708090a0b0c0d0e0f1011121314"}
        in:  {spi: 0xcf2426b6, key: "0x1112131415161718191a1b1c1d1e1f2021222324"}
    routes: [10.2.0.0/16]
`

const siteB = `
underlay: {addresses: [192.0.2.2]}
vrfs:
  main: {port: {netstack: {addresses: [10.2.0.1/16]}}}
tunnels:
  a:
    ipsec:
      remote: 192.0.2.1
      static:
        esp: aes128gcm16
        in:  {spi: 0xc1890b6e, key: "0x0102030405060708090a0b0c0d0e0f1011121314"}
        out: {spi: 0xcf2426b6, key: "0x1112131415161718191a1b1c1d1e1f2021222324"}
    routes: [10.1.0.0/16]
`

// Two engines in one process, joined by a simulated network: one listens behind its tunnel, the other dials. On real hosts
// leave WithNetwork out, and each engine opens its own UDP sockets.
func ExampleEngine_DialContext() {
	ctx, cancel := context.WithCancel(context.Background())
	network := sim.New(sim.Config{})
	var engines []*warren.Engine
	ended := make(chan error, 2)
	for name, text := range []string{siteA, siteB} {
		cfg, err := warren.ParseConfig(fmt.Sprint("site", name), []byte(text))
		if err != nil {
			log.Fatal(err)
		}
		eng, err := warren.New(cfg, warren.WithNetwork(network))
		if err != nil {
			log.Fatal(err)
		}
		go func() { ended <- eng.Run(ctx) }()
		engines = append(engines, eng)
	}

	ln, err := engines[1].Listen("tcp", "10.2.0.1:7")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		fmt.Fprintf(conn, "hello, %v", conn.RemoteAddr().Network())
		conn.Close()
	}()

	conn, err := engines[0].DialContext(ctx, "tcp", "10.2.0.1:7")
	if err != nil {
		log.Fatal(err)
	}
	greeting, err := io.ReadAll(conn)
	fmt.Printf("%s %v\n", greeting, err)
	for _, t := range engines[0].Status().Tunnels {
		fmt.Println(t.Name, t.State, t.InnerMTU)
	}
	cancel()
	fmt.Println(<-ended, <-ended)
	// Output:
	// hello, tcp <nil>
	// b up 1438
	// <nil> <nil>
}
