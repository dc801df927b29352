// Package mapresp turns views of the network into the messages of the clients'
// protocol: a full map, the difference between two views, and what a node that is
// gone is told. It is pure: views in, tailcfg.MapResponse out.
//
// It owns how a node looks to itself and to its peers, and which change becomes a
// patch. It doesn't know sessions, encoding or compression; see package control.
//
// What the fields mean to clients, and which of them make a client rebuild all it
// has, is in control/controlclient/map.go of the client's module.
package mapresp
