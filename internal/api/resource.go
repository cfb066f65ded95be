package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
)

// keyRange is a key prefix that objects are assembled from.
type keyRange struct {
	prefix string
	// below restricts the row to names with this prefix.
	below string
	// object returns the name of the object that a key belongs to; nil means the key's own name.
	object func(name string) string
	// shared marks rows whose keys do not belong to a single object.
	shared bool
}

// view assembles objects from rows.
type view[T any] interface {
	// apply takes in one key of the i-th row and returns the names of the objects that it changed.
	apply(i int, name string, kv store.KV, deleted bool) []string
	// object returns the object in its current state.
	object(name string) (T, bool)
	// names returns the names of all objects, sorted.
	names() []string
	// forget drops an object that is not asked for.
	forget(name string)
}

// resource is one kind of object: where it is read from and how it is shown.
type resource[T any] struct {
	store readable
	kind  string
	// rows: the first holds the objects themselves, the others are joined to them.
	rows []keyRange
	view func() view[T]
	// labels returns the labels of an object, tombstone makes the object of a DELETED event, filter reads further
	// selection from a query.
	labels    func(T) map[string]string
	tombstone func(name string) T
	filter    func(url.Values) (func(T) bool, error)
	// finish adds the fields that only some queries ask for.
	finish func(context.Context, url.Values, []T) error
	// keysOnly means that values are not read.
	keysOnly bool
}

// query is a parsed list or watch request.
type query[T any] struct {
	name     string // one object; empty means all
	match    func(T) bool
	limit    int
	revision int64
	after    string
}

// token is the content of ?continue=.
type token struct {
	Revision int64  `json:"r"`
	After    string `json:"a"`
}

func (c *resource[T]) query(r *http.Request, name string) (query[T], error) {
	q, values := query[T]{name: name}, r.URL.Query()
	bad := func(name string, err error) (query[T], error) {
		return q, wire.Fail(wire.ReasonBadRequest, "?%s=%s: %v", name, values.Get(name), err)
	}
	selector, err := labels.Parse(values.Get("labelSelector"))
	if err != nil {
		return bad("labelSelector", err)
	}
	filter := func(T) bool { return true }
	if c.filter != nil {
		if filter, err = c.filter(values); err != nil {
			return q, err
		}
	}
	q.match = func(object T) bool {
		return (selector.Empty() || selector.Matches(labels.Set(c.labels(object)))) && filter(object)
	}
	if text := values.Get("limit"); text != "" {
		if q.limit, err = strconv.Atoi(text); err != nil || q.limit < 0 {
			return bad("limit", fmt.Errorf("must be a number, 0 or more"))
		}
	}
	if text := values.Get("resourceVersion"); text != "" {
		if q.revision, err = strconv.ParseInt(text, 10, 64); err != nil || q.revision < 0 {
			return bad("resourceVersion", fmt.Errorf("must be a revision of etcd"))
		}
	}
	if text := values.Get("continue"); text != "" {
		t, err := readToken(text, c.rows[0].prefix)
		if err != nil {
			return bad("continue", err)
		}
		q.revision, q.after = t.Revision, t.After
	}
	return q, nil
}

func readToken(text, prefix string) (t token, err error) {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(data, &t)
	}
	if err != nil || t.Revision <= 0 || !strings.HasPrefix(t.After, prefix) {
		return token{}, fmt.Errorf("the token belongs to another listing: start again without it")
	}
	return t, nil
}

func (t token) String() string {
	data, _ := json.Marshal(t)
	return base64.RawURLEncoding.EncodeToString(data)
}

// list answers GET on the collection, as a listing or, with ?watch=true, as a stream.
func (c *resource[T]) list(w http.ResponseWriter, r *http.Request) error {
	q, err := c.query(r, "")
	if err != nil {
		return err
	}
	if flag(r.URL.Query().Get("watch")) {
		return c.watch(w, r, q)
	}
	v := c.view()
	revision, next, err := c.load(r.Context(), v, q)
	if err != nil {
		return err
	}
	list := wire.List[T]{
		TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: c.kind + "List"},
		Metadata: wire.ListMeta{ResourceVersion: strconv.FormatInt(revision, 10)},
		Items:    []T{},
	}
	if next != "" {
		list.Metadata.Continue = token{Revision: revision, After: next}.String()
	}
	for _, name := range v.names() {
		if object, ok := v.object(name); ok {
			list.Items = append(list.Items, object)
		}
	}
	if c.finish != nil {
		if err := c.finish(r.Context(), r.URL.Query(), list.Items); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, list)
}

// get answers GET on one object, or streams it with ?watch=true.
func (c *resource[T]) get(w http.ResponseWriter, r *http.Request) error {
	q, err := c.query(r, r.PathValue("name"))
	if err != nil {
		return err
	}
	if flag(r.URL.Query().Get("watch")) {
		return c.watch(w, r, q)
	}
	object, err := c.read(r.Context(), q.name)
	if err == nil && c.finish != nil {
		err = c.finish(r.Context(), r.URL.Query(), []T{object})
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, object)
}

// read assembles one object.
func (c *resource[T]) read(ctx context.Context, name string) (object T, err error) {
	v := c.view()
	if _, _, err := c.load(ctx, v, query[T]{name: name, match: func(T) bool { return true }}); err != nil {
		return object, err
	}
	object, ok := v.object(name)
	if !ok {
		return object, c.notFound(name)
	}
	return object, nil
}

func (c *resource[T]) notFound(name string) error {
	return wire.Fail(wire.ReasonNotFound, "%s/%s does not exist", strings.ToLower(c.kind), name)
}
