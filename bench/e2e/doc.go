// Package e2e tests the program as a person meets it: the daemon between network namespaces, its command line, its exit
// status, its end. There is nothing in it but tests.
//
// Reading order: daemon_test.go; then sites_test.go, three sites of two gateways each: what it costs when gateways die, leave and
// come back, and what uses the processors meanwhile.
//
//	go test ./bench/e2e -run TestSites -v -sites.runs 10 -timeout 30m   # the figures of ten runs each
//	go test ./bench/e2e -run 'TestSites/BFD$' -v                        # one laboratory alone, with no other load
//
// With -sites.watch 30s it measures for longer what the processors do before anything happens.
package e2e
