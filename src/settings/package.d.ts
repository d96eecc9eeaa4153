/** The option table of the npm package `dhcp`, which has no types of its own. Only the table is used. */
declare module 'dhcp/lib/options.js' {
  interface TableEntry {
    readonly name: string;
    readonly type?: string;
    readonly config?: string;
    readonly attr?: string;
  }
  const table: { readonly opts: Record<string, TableEntry>; readonly conf: Record<string, number> };
  export default table;
}
