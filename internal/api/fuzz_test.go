package api_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/go-logr/logr"

	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// FuzzRequest sends arbitrary requests: every one gets an answer, none of them a 5xx, and a refused request writes
// nothing.
func FuzzRequest(f *testing.F) {
	for _, s := range [][3]string{
		{"PUT", apps + "/hello", hello}, {"PUT", apps + "/hello?dryRun=true", "a: [\n"}, {"GET", apps + "?limit=1&continue=x", ""},
		{"PUT", units + "/a.service", unitJSON(f, "a.service", sleeping, "")}, {"POST", units + "/a.service/start", ""},
		{"PATCH", units + "/a.service", `{"spec":{"desiredState":"loaded"}}`}, {"DELETE", units + "/%2e%2e%2fb", ""},
		{"PUT", "/fleet/v1/units/a.service", fleetBody}, {"GET", "/fleet/v1/state?machineID=%00", ""}, {"GET", units + "/a.service/logs?since=5m", ""},
		{"PUT", "/fleet/v1/units/a.service", `{"desiredState":"loaded"}`}, {"PUT", "/v1-alpha/units/%40.service", `{"options":[{}]}`}, {"DELETE", "/fleet/v1/units/a.service", ""},
		{"PATCH", "/fleet/v1/machines", `[{"op":"add","path":"/` + here + `/metadata/a","value":{"value":"x"}}]`}, {"GET", "/fleet/v1/units?nextPageToken=EwBMLg==", ""},
		{"PATCH", "/apis/fleet/v1/machines/" + here, `{"metadata":{"a":null}}`}, {"GET", "/apis/fleet/v1/events?for=app/x", ""},
		{"GET", apps + "?labelSelector=a+in+(b,c),!d", ""}, {"GET", "//apis/../fleet", ""},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, method, target, body string) {
		u, err := url.Parse("http://fleetd" + target)
		if err != nil || u.Host != "fleetd" || !token(method) || strings.Contains(u.RawQuery, "watch") || strings.Contains(u.RawQuery, "follow") || strings.HasSuffix(u.Path, "/restart") {
			return // not a request that reaches a server, or a stream
		}
		s := memstore.New(memstore.Options{})
		c := &cluster{t: t, store: s, conn: s.Connect()}
		c.put("/fleet/machines/"+here, machine("10.0.0.1"))
		placed(c, "a.service", here)
		before := s.Revision()
		h := api.New(api.Options{Store: s, Keys: keys, MachineID: here, Log: logr.Discard(), Journal: journal{}})
		req := httptest.NewRequest(method, "/", strings.NewReader(body))
		req.URL, req.RequestURI = u, u.RequestURI()
		req.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code >= http.StatusInternalServerError && w.Code != http.StatusBadGateway {
			t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
		}
		if w.Code >= 300 && s.Revision() != before {
			t.Fatalf("%s %s: answered %d and wrote", method, target, w.Code)
		}
	})
}

func token(method string) bool {
	return method != "" && strings.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
