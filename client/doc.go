// Package client reaches ABEJA Secret Manager, the keeper of an organization's secrets on ABEJA
// Platform, over its HTTP API.
//
// A [Client] is one organization and one identity: [Basic] for a user's personal access token,
// [Bearer] for an auth token. It has a method for each of the API's ten calls: list, get, create,
// update and delete, of secrets and of their versions.
//
// # What it stands on
//
// ABEJA documents, or its own SDK shows:
//
//   - A secret is found only by its id; a name is found by reading the list, in pages of at most 100.
//   - A secret's value is that of a version. A new value is a new version; an inactive version keeps
//     its value. Values come only where [ReadOptions] asks for them.
//   - Values travel in base64. Times are RFC 3339 with any offset; the client returns them in UTC.
//   - Names are unique in the organization.
//
// ABEJA leaves open, and the client works either way: whether null or "" clears a description or an
// expiry, whether an unknown id is 403 or 404, whether a list without values still has the versions,
// and whether there is a rate limit.
//
// # Failures
//
// Every error of a call is an [*Error], or [context.Canceled] when the caller gave up. errors.Is sorts it under
// one of the Err values, such as [ErrNotFound].
//
// GET, PATCH and DELETE are tried again on 429, 500, 502, 503 and 504 and when the connection fails; a
// POST only on 429, since it could take effect twice. [Error.OutcomeUnknown] says when to look before
// asking again. A call, with all its tries, ends with Config.Timeout or the caller's deadline. A try that
// another may follow has half of what is left of that: one that hangs does not end the call. It ends the
// use of the connections that were idle then, since a device between may have forgotten them.
//
// An answer is used only if it bears the organization and the ids that were asked for. A record in it that
// cannot be understood costs only itself: it is set apart, in [SecretPage] and [VersionPage] as Odd and in
// [Secret] as OddVersions. No error holds
// the credential or a submitted value, even where ABEJA repeats them.
package client
