package admin

import (
	"net/http"

	"selvage"
)

// route is one method and path of the API.
type route struct {
	pattern string // without Prefix
	handle  handler
	stream  bool // the answer may take long
}

// table lists all routes.
func (s *Server) table() []route {
	return []route{
		{"GET /version", getVersion, false},
		{"GET /status", getStatus, false},
		{"GET /config", getConfig, false},
		{"GET /backup", getBackup, true},
		{"GET /tailnets", listTailnets, false},
		{"POST /tailnets", createTailnet, false},

		{"GET /nodes", listNodes, false},
		{"POST /nodes/register", registerNode, false},
		{"GET /nodes/{node}", getNode, false},
		{"DELETE /nodes/{node}", deleteNode, false},
		{"POST /nodes/{node}/name", renameNode, false},
		{"POST /nodes/{node}/tags", tagNode, false},
		{"POST /nodes/{node}/approve", approveNode, false},
		{"POST /nodes/{node}/expire", expireNode, false},
		{"POST /nodes/{node}/key-expiry", setKeyExpiry, false},
		{"POST /nodes/{node}/ping", pingNode, false},
		{"POST /nodes/{node}/routes/approve", approveRoutes, false},
		{"POST /nodes/{node}/routes/withdraw", withdrawRoutes, false},
		{"GET /routes", listRoutes, false},

		{"GET /users", listUsers, false},
		{"POST /users", createUser, false},
		{"GET /users/{user}", getUser, false},
		{"PATCH /users/{user}", changeUser, false},
		{"DELETE /users/{user}", deleteUser, false},
		{"POST /users/{user}/link", createLink, false},

		{"GET /keys", listKeys, false},
		{"POST /keys", createKey, false},
		{"DELETE /keys/{id}", revokeKey, false},
		{"GET /tokens", listTokens, false},
		{"POST /tokens", createToken, false},
		{"DELETE /tokens/{id}", deleteToken, false},

		{"GET /dns", getDNS, false},
		{"PATCH /dns", changeDNS, false},
		{"GET /settings", getSettings, false},
		{"PATCH /settings", changeSettings, false},

		{"GET /policy", getPolicy, false},
		{"PUT /policy", setPolicy, false},
		{"POST /policy/check", checkPolicy, false},
		{"POST /policy/diff", diffPolicy, false},
		{"GET /policy/explain", explainPolicy, false},
		{"GET /policy/who", whoReaches, false},
		{"GET /policy/reach/{name}", reachOf, false},
		{"GET /policy/rules/{node}", rulesOf, false},
		{"GET /policy/revisions", listRevisions, false},
		{"GET /policy/revisions/{rev}", getRevision, false},

		{"GET /journal", listEntries, false},
		{"GET /journal/verify", verifyJournal, true},
		{"GET /journal/follow", followJournal, true},

		{"GET /relays", listRelays, false},
		{"POST /relays", createRelay, false},
		{"DELETE /relays/{name}", deleteRelay, false},
	}
}

// routes returns the handler of all routes.
func (s *Server) routes(who authenticate) http.Handler {
	mux := http.NewServeMux()
	for _, rt := range s.table() {
		mux.Handle(withPrefix(rt.pattern), s.serve(who, rt.stream, rt.handle))
	}
	mux.Handle("/", s.serve(who, false, func(r *request) (any, error) {
		return nil, selvage.Errorf(selvage.KindNotFound, "the server does not know %s %s; is it of another version than the client?", r.Method, r.URL.Path)
	}))
	return mux
}

func withPrefix(pattern string) string {
	for i := range pattern {
		if pattern[i] == ' ' {
			return pattern[:i+1] + Prefix + pattern[i+1:]
		}
	}
	return Prefix + pattern
}
