// Generated of the service's OpenAPI document by scripts/generate.mjs: change it there.

export interface paths {
    "/api/v1/account": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Plan, credits, storage, limits and prices
         * @description The tenant's plan, credits, storage and prices, and the limits of the API key that asks.
         */
        get: operations["get_account"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/audit": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read the audit log
         * @description Who did what, when and from where, newest first. Follow `next_cursor` until it is null. JSON, or with `Accept` or `format` CSV; then the header `X-Next-Cursor` says where to go on.
         */
        get: operations["list_audit_events"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/batch": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Run up to 256 operations
         * @description As if sent one after the other, each with its own status; one failing does not undo the others.
         */
        post: operations["run_batch"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/budgets": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List budgets, and what today used of them
         * @description All of the tenant's, at most 100. They bind calls that go upstream, not hits.
         */
        get: operations["list_budgets"];
        put?: never;
        /**
         * Create a budget
         * @description A call goes upstream only where its worst case has room in every budget of its API key and model. There is one for each API key (or all) and model (or all). It holds in every server process within a second; what was spent before on that day counts.
         */
        post: operations["create_budget"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/budgets/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /**
         * Delete a budget
         * @description Deleting what is not there is no error: `deleted` is then false.
         */
        delete: operations["delete_budget"];
        options?: never;
        head?: never;
        /**
         * Change a budget
         * @description What is left out stays, and what today has used too.
         */
        patch: operations["update_budget"];
        trace?: never;
    };
    "/api/v1/cache": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List entries
         * @description Live entries in order of their keys. Follow `next_cursor` until it is null.
         */
        get: operations["list_entries"];
        put?: never;
        post?: never;
        /**
         * Delete entries, or the gateway's answers, by tag or prefix, or all
         * @description Deletes what stood there when the request came. Without a filter nothing is deleted: 400.
         */
        delete: operations["delete_entries"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/cache/{key}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get a value
         * @description A miss is no error: `200` with `hit: false`. A hit costs 0.01 credit, a miss nothing.
         */
        get: operations["get_entry"];
        /**
         * Store a value
         * @description JSON stores `value`, byte for byte as sent. Any other Content-Type stores the body itself with its type; `ttl`, `tag` (repeatable) and `cost` then come as query parameters. Writing is free.
         */
        put: operations["put_entry"];
        post?: never;
        /**
         * Delete a value
         * @description Deleting what is not there is no error: `deleted` is then false.
         */
        delete: operations["delete_entry"];
        options?: never;
        /**
         * Ask whether a value is there; never charged
         * @description A miss is no error: `200` with `hit: false`. A hit costs 0.01 credit, a miss nothing.
         */
        head: operations["head_entry"];
        /**
         * Renew or retag without sending the value
         * @description Send `ttl`, `tags` or both; what is left out stays, and so do the value and its ETag.
         */
        patch: operations["patch_entry"];
        trace?: never;
    };
    "/api/v1/invitations": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List open invitations
         * @description Newest first, at most 50; never their link.
         */
        get: operations["list_invitations"];
        put?: never;
        /**
         * Invite somebody
         * @description By a mail whose link is good for 7 days. As any role but owner.
         */
        post: operations["create_invitation"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/invitations/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /**
         * Withdraw an invitation
         * @description Its link works no longer.
         */
        delete: operations["withdraw_invitation"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/invitations/{id}/send": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Send an invitation again
         * @description With a new term.
         */
        post: operations["send_invitation"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/invoices": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List invoices and credit notes
         * @description Newest first. Follow `next_cursor` until it is null.
         */
        get: operations["list_invoices"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/invoices/{number}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get an invoice or a credit note
         * @description It never changes. JSON, or with `Accept` or `format` CSV or PDF.
         */
        get: operations["get_invoice"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/invoices/preview": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * What the running month comes to so far
         * @description As the invoice would say it now; it has no number. JSON, or CSV with `Accept` or `format`.
         */
        get: operations["preview_invoice"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/keys": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List API keys
         * @description Newest first, revoked ones too; never a secret. Follow `next_cursor` until it is null.
         */
        get: operations["list_api_keys"];
        put?: never;
        /**
         * Create an API key
         * @description The answer holds its token, which is shown only then.
         */
        post: operations["create_api_key"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/keys/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get an API key
         * @description One of them.
         */
        get: operations["get_api_key"];
        put?: never;
        post?: never;
        /**
         * Revoke an API key
         * @description Every server process refuses it at once, and for ever. Revoking it again changes nothing.
         */
        delete: operations["revoke_api_key"];
        options?: never;
        head?: never;
        /**
         * Rename an API key, or change its limits or networks
         * @description What is left out stays. It holds in every server process at once.
         */
        patch: operations["update_api_key"];
        trace?: never;
    };
    "/api/v1/keys/{id}/rotate": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Give an API key a new secret
         * @description The same key, with its meters and limits. The former secret works until the overlap ends.
         */
        post: operations["rotate_api_key"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/members": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the tenant's members
         * @description People, with their roles; not API keys. All of them, in the order in which they joined.
         */
        get: operations["list_members"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/members/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /**
         * Remove a member
         * @description Their access ends with their next request. An owner is removed in the console.
         */
        delete: operations["remove_member"];
        options?: never;
        head?: never;
        /**
         * Give a member another role
         * @description Any but owner, and not to an owner: that is done in the console. It holds at once.
         */
        patch: operations["update_member"];
        trace?: never;
    };
    "/api/v1/prices": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the tenant's own prices
         * @description At most 1000. They go before the public price list.
         */
        get: operations["list_prices"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/prices/{provider}/{model}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /**
         * Set the price of a model
         * @description For what the public price list does not know, or a tenant pays otherwise. Replaces the former one.
         */
        put: operations["put_price"];
        post?: never;
        /**
         * Delete the price of a model
         * @description The public price list's holds again. Deleting what is not there is no error: `deleted` is then false.
         */
        delete: operations["delete_price"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/providers": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the gateway's providers
         * @description All of the tenant's, at most 100; never a credential.
         */
        get: operations["list_providers"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/providers/{name}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get a provider
         * @description One of them.
         */
        get: operations["get_provider"];
        /**
         * Set a provider
         * @description Makes the provider, or replaces what was said of it. The credential is kept sealed, is never shown, and stays when it is left out. It holds in every server process within a second.
         */
        put: operations["put_provider"];
        post?: never;
        /**
         * Delete a provider
         * @description With its credential and its prices. Deleting what is not there is no error: `deleted` is then false.
         */
        delete: operations["delete_provider"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/settings": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get the tenant's settings
         * @description Its name, TTLs and alerts.
         */
        get: operations["get_settings"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        /**
         * Change the tenant's settings
         * @description What is left out stays, within `alerts` too. All of it is changed, or nothing.
         */
        patch: operations["update_settings"];
        trace?: never;
    };
    "/api/v1/spend": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * What the tenant spent and saved through the gateway
         * @description By one or two of day, provider, model, user, key, cache. JSON, or CSV with `Accept: text/csv`.
         */
        get: operations["get_spend"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/spend/prompts": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The prompts that cost most
         * @description By their fingerprints, and how many requests repeat one. Events are kept for 90 days.
         */
        get: operations["get_spend_prompts"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/usage": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * What the tenant used
         * @description By UTC hour, day or month, exact to the moment. JSON, or CSV with `Accept: text/csv`.
         */
        get: operations["get_usage"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/usage/top": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The entries that are hit most
         * @description Live entries by their hits, or by the USD that their hits saved; counted within a minute.
         */
        get: operations["get_top_entries"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/webhooks": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get the tenant's webhook
         * @description A tenant has one, or none: `url` is then null. Never its secret.
         */
        get: operations["get_webhook"];
        /**
         * Set the tenant's webhook
         * @description A new one gets a signing secret, which is shown only then; another URL for it keeps the secret.
         */
        put: operations["put_webhook"];
        post?: never;
        /**
         * Delete the tenant's webhook
         * @description With its secret. Deleting what is not there is no error: `deleted` is then false.
         */
        delete: operations["delete_webhook"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/webhooks/rotate": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Give the webhook a new signing secret
         * @description The former one signs nothing any more.
         */
        post: operations["rotate_webhook_secret"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/webhooks/test": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Send a test to the webhook
         * @description An event of the type `test`, at once and once. The answer says what became of it.
         */
        post: operations["test_webhook"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /**
         * Account
         * @description The account as of now.
         */
        Account: {
            api_key: components["schemas"]["APIKeyName"];
            credits: components["schemas"]["CreditBalance"];
            limits: components["schemas"]["Limits"];
            plan: components["schemas"]["PlanTerms"];
            prices: components["schemas"]["TodaysPrices"];
            storage: components["schemas"]["TenantStorage"];
            tenant: components["schemas"]["TenantName"];
            ttl: components["schemas"]["TTLs"];
        };
        /**
         * AlertsShown
         * @description When and where to the tenant is told.
         */
        AlertsShown: {
            /** @description None: the owners', as far as they are verified. */
            emails: string[];
            low_balance: string | null;
            month_credits: string | null;
            /** @description Of a storage quota, the tenant's and each API key's: told from there. */
            storage_percent: number;
        };
        /** APIKeyName */
        APIKeyName: {
            id: string;
            /** @description Null: there is no such API key any more. */
            name: string | null;
        };
        /**
         * APIKeyPage
         * @description A page of API keys, newest first.
         */
        APIKeyPage: {
            keys: components["schemas"]["ShownAPIKey"][];
            next_cursor: string | null;
        };
        /**
         * APIKeyStorage
         * @description Live storage of entries that the API key wrote.
         */
        APIKeyStorage: {
            /** @description Null: none. */
            quota_bytes: number | null;
            used_bytes: number;
        };
        /**
         * AuditPage
         * @description A page of events, newest first.
         */
        AuditPage: {
            events: components["schemas"]["ShownAuditEvent"][];
            next_cursor: string | null;
        };
        /** BatchAnswer */
        BatchAnswer: {
            results: components["schemas"]["BatchResult"][];
        };
        /**
         * BatchRequest
         * @description Operations, run as if sent one after the other.
         */
        BatchRequest: {
            operations: (components["schemas"]["GetOperation"] | components["schemas"]["PutOperation"] | components["schemas"]["DeleteOperation"])[];
        };
        /**
         * BatchResult
         * @description What the operation would have answered alone.
         */
        BatchResult: {
            body: Record<string, never>;
            status: number;
        };
        /**
         * Budgets
         * @description All of the tenant's, the oldest first.
         */
        Budgets: {
            budgets: components["schemas"]["ShownBudget"][];
        };
        /**
         * CacheHit
         * @description A live entry.
         */
        CacheHit: {
            content_type?: string;
            /** @description RFC 3339, UTC. */
            created_at: string;
            /** @description RFC 3339, UTC. */
            expires_at: string;
            /** @constant */
            hit: true;
            /** @description 1 to 512 bytes of UTF-8 without control characters. */
            key: string;
            /** @description As it was sent; base 64 for another content type than JSON. */
            value: unknown;
        };
        /**
         * CacheMiss
         * @description No live entry; not an error.
         */
        CacheMiss: {
            /** @constant */
            hit: false;
            /** @description 1 to 512 bytes of UTF-8 without control characters. */
            key: string;
            /** @description With `lease`: to fill the entry with; null: it is held. */
            lease?: string | null;
        };
        /**
         * CreateAPIKey
         * @description The body of a POST. Limits that are null are the tenant's or the plan's; a credit limit of null is none.
         */
        CreateAPIKey: {
            /** @default null */
            allowed_networks: string[] | null;
            /** @default null */
            credit_limit: string | null;
            /** @default null */
            expires_at: string | null;
            /** @description What the key is for. */
            name: string;
            /** @default null */
            requests_per_minute: number | null;
            scopes: ("admin" | "delete" | "gateway" | "read" | "write")[];
            /** @default null */
            storage_quota: number | null;
            /** @default null */
            ttl: number | null;
        };
        /**
         * CreateBudget
         * @description The body of a POST: a hard limit on what is spent in a UTC day.
         */
        CreateBudget: {
            /**
             * @description Of the budget: from there on the tenant is alerted, once a day.
             * @default 80
             */
            alert_percent: number;
            /** @default null */
            api_key_id: string | null;
            /** @default null */
            model: string | null;
            /** @description USD: a decimal string. */
            usd_per_day: string;
        };
        /**
         * CreateInvitation
         * @description The body of a POST: who is invited, as what.
         */
        CreateInvitation: {
            /** Format: email */
            email: string;
            /** @enum {unknown} */
            role: "admin" | "billing" | "developer" | "viewer";
        };
        /** CreditBalance */
        CreditBalance: {
            /** @description Below zero: owed. */
            balance: string;
            /** @description In the running UTC month. */
            charged_this_month: string;
        };
        /** CreditLimit */
        CreditLimit: {
            per_month: string;
            used_this_month: string;
        };
        /**
         * Deleted
         * @description Whether a live entry was deleted.
         */
        Deleted: {
            deleted: boolean;
            /** @description 1 to 512 bytes of UTF-8 without control characters. */
            key: string;
        };
        /** DeletedBudget */
        DeletedBudget: {
            deleted: boolean;
            id: string;
        };
        /** DeletedEntries */
        DeletedEntries: {
            deleted: number;
        };
        /** DeletedInvitation */
        DeletedInvitation: {
            deleted: boolean;
            id: string;
        };
        /** DeletedMember */
        DeletedMember: {
            deleted: boolean;
            id: string;
        };
        /** DeletedPrice */
        DeletedPrice: {
            deleted: boolean;
            model: string;
            provider: string;
        };
        /**
         * DeletedProvider
         * @description Whether there was such a provider.
         */
        DeletedProvider: {
            deleted: boolean;
            name: string;
        };
        /** DeletedWebhook */
        DeletedWebhook: {
            deleted: boolean;
        };
        /**
         * DeleteOperation
         * @description A DELETE within a batch.
         */
        DeleteOperation: {
            /** @description 1 to 512 bytes of UTF-8 without control characters. */
            key: string;
            /** @enum {unknown} */
            op: "delete";
        };
        /**
         * Error
         * @description Every error has this shape.
         */
        Error: {
            error: components["schemas"]["ErrorDetail"];
        };
        /** ErrorDetail */
        ErrorDetail: {
            code: string;
            message: string;
            request_id: string;
        };
        /**
         * GetOperation
         * @description A GET within a batch.
         */
        GetOperation: {
            /** @description 1 to 512 bytes of UTF-8 without control characters. */
            key: string;
            /** @enum {unknown} */
            op: "get";
        };
        /**
         * Invitations
         * @description The open ones, newest first, expired ones too.
         */
        Invitations: {
            invitations: components["schemas"]["ShownInvitation"][];
        };
        /**
         * InvoiceDocument
         * @description An invoice or a credit note.
         */
        InvoiceDocument: {
            bill_to: string;
            /** @description A credit note's invoice. */
            corrects: number | null;
            /** @description RFC 3339, UTC. */
            issued_at: string;
            /** @enum {unknown} */
            kind: "credit_note" | "invoice";
            lines: components["schemas"]["InvoiceLine"][];
            /** @description A UTC month. */
            month: string;
            /** @description 1, 2, … of the tenant, without gaps. */
            number: number;
            /** @description When it was issued. */
            plan: string;
            reference: string;
            rounding_rule: string;
            seller: string;
            /** @description US dollars. */
            total_usd: string;
        };
        /**
         * InvoiceLine
         * @description A line of an invoice or a credit note. What is taken off is negative.
         */
        InvoiceLine: {
            /** @description US dollars. */
            amount_usd: string;
            /** @default null */
            api_key: components["schemas"]["InvoiceLineAPIKey"] | null;
            description: string;
            /** @default null */
            first_day: string | null;
            /** @default null */
            hits: number | null;
            /** @enum {unknown} */
            kind: "cache_hits" | "covered_credits" | "credit_note" | "free_storage" | "owed_credits" | "storage";
            /** @default null */
            last_day: string | null;
            /** @default null */
            quantity: string | null;
            /** @default null */
            unit: ("GB-month" | "credit") | null;
            /** @default null */
            unit_price_usd: string | null;
        };
        /**
         * InvoiceLineAPIKey
         * @description Named as it was when the document was made.
         */
        InvoiceLineAPIKey: {
            id: string;
            /** @description Null: there was no such API key any more. */
            name: string | null;
        };
        /**
         * InvoiceList
         * @description Newest first.
         */
        InvoiceList: {
            invoices: components["schemas"]["InvoiceSummary"][];
            next_cursor: string | null;
        };
        /**
         * InvoicePreview
         * @description What the running month comes to so far.
         */
        InvoicePreview: {
            /** @description RFC 3339, UTC. */
            as_of: string;
            bill_to: string;
            lines: components["schemas"]["InvoiceLine"][];
            /** @description A UTC month. */
            month: string;
            plan: string;
            /** @constant */
            preview: true;
            rounding_rule: string;
            seller: string;
            /** @description US dollars. */
            total_usd: string;
        };
        /**
         * InvoiceSummary
         * @description An invoice or a credit note in a list.
         */
        InvoiceSummary: {
            /** @description A credit note's invoice. */
            corrects: number | null;
            /** @description RFC 3339, UTC. */
            issued_at: string;
            /** @enum {unknown} */
            kind: "credit_note" | "invoice";
            /** @description A UTC month. */
            month: string;
            /** @description 1, 2, … of the tenant, without gaps. */
            number: number;
            reference: string;
            /** @description US dollars. */
            total_usd: string;
        };
        /**
         * Limits
         * @description The limits of the API key that asks: its own, else the tenant's, else the plan's. Null: none.
         */
        Limits: {
            credits: components["schemas"]["CreditLimit"] | null;
            requests_per_minute: number | null;
            storage: components["schemas"]["APIKeyStorage"];
        };
        /**
         * ListedEntry
         * @description A live entry; with `include=stats` also what its hits count to, within a minute.
         */
        ListedEntry: {
            /** @description RFC 3339, UTC. */
            created_at: string;
            /** @description RFC 3339, UTC. */
            expires_at: string;
            hits?: number;
            /** @description 1 to 512 bytes of UTF-8 without control characters. */
            key: string;
            last_hit_at?: string | null;
            /** @description USD. */
            saved_usd?: string;
            size_bytes: number;
            tags: string[];
        };
        /**
         * Member
         * @description A person who belongs to the tenant.
         */
        Member: {
            email: string;
            id: string;
            /** @description RFC 3339, UTC. */
            joined_at: string;
            last_sign_in_at: string | null;
            /** @description Empty: they gave none. */
            name: string;
            /** @enum {unknown} */
            role: "admin" | "billing" | "developer" | "owner" | "viewer";
            /** @description Whether they sign in with a second factor. */
            two_factor: boolean;
        };
        /**
         * Members
         * @description All of them, in the order in which they joined.
         */
        Members: {
            members: components["schemas"]["Member"][];
        };
        /**
         * NewAPIKey
         * @description An API key with a secret that was made just now.
         */
        NewAPIKey: {
            /** @description From which alone it may be used; null: from everywhere. */
            allowed_networks: string[] | null;
            /** @description RFC 3339, UTC. */
            created_at: string;
            credit_limit: string | null;
            expires_at: string | null;
            /** @description How long the secret before the latest rotation still works. */
            former_secret_until: string | null;
            id: string;
            /** @description To the minute. */
            last_used_at: string | null;
            /** @description What the key is for. */
            name: string;
            /** @description How its tokens begin. */
            prefix: string;
            requests_per_minute: number | null;
            revoked_at: string | null;
            scopes: ("admin" | "delete" | "gateway" | "read" | "write")[];
            /** @description Bytes of the entries that it wrote. */
            storage_quota: number | null;
            /** @description What to send as the API key. It is shown only now. */
            token: string;
        };
        /**
         * NewWebhookSecret
         * @description The webhook with a signing secret that was made just now.
         */
        NewWebhookSecret: {
            /** @description What its requests are signed with. It is shown only now. */
            secret: string;
            url: string;
        };
        /**
         * Page
         * @description A page of live entries, in order of their keys.
         */
        Page: {
            keys: components["schemas"]["ListedEntry"][];
            next_cursor: string | null;
            /** @description The tenant's live storage. */
            storage_used_bytes: number;
            /** @description Live matches, counted for the first page, up to 1000000. */
            total: number;
        };
        /**
         * PatchBody
         * @description The JSON body of a PATCH: what to renew or retag.
         */
        PatchBody: {
            tags?: string[];
            /** @description Seconds until the entry expires; at most the tenant's maximum. Left out of a new value: the tenant's default, 604800 unless it has set another. */
            ttl?: number;
        };
        /** PlanTerms */
        PlanTerms: {
            code: string;
            monthly_grant_credits: string;
            /** @description Hits are refused when the balance cannot pay for them. */
            prepaid: boolean;
        };
        /**
         * Policy
         * @description What a tenant may set for each of its providers.
         */
        Policy: {
            /** @default true */
            cache: boolean;
            /** @default false */
            cache_random: boolean;
            /** @default 5 */
            connect_seconds: number;
            /** @default 300 */
            first_byte_seconds: number;
            /** @default 60 */
            idle_seconds: number;
            /** @default false */
            keep_prompts: boolean;
            /** @default null */
            max_output_tokens: number | null;
            /** @default 1209600 */
            max_ttl: number;
            /**
             * @default finish
             * @enum {unknown}
             */
            on_disconnect: "cancel" | "finish";
            /** @default [] */
            personal_data: ("bank" | "card" | "email" | "phone")[];
            /** @default [] */
            personal_patterns: string[];
            /** @default 2 */
            retries: number;
            /**
             * @default exact
             * @enum {unknown}
             */
            text: "exact" | "normalized";
            /** @default 3600 */
            time_sensitive_ttl: number;
            /**
             * @default [
             *       "today",
             *       "tonight",
             *       "tomorrow",
             *       "yesterday",
             *       "now",
             *       "current",
             *       "currently",
             *       "latest",
             *       "newest",
             *       "recent",
             *       "recently",
             *       "this week",
             *       "this month",
             *       "this year",
             *       "right now",
             *       "at the moment",
             *       "up to date",
             *       "breaking",
             *       "live"
             *     ]
             */
            time_sensitive_words: string[];
            /** @default 600 */
            total_seconds: number;
            /** @default 604800 */
            ttl: number;
        };
        /**
         * Prices
         * @description All of the tenant's own, by provider and model.
         */
        Prices: {
            prices: components["schemas"]["ShownPrice"][];
        };
        /**
         * Providers
         * @description All of the tenant's, by name.
         */
        Providers: {
            providers: components["schemas"]["ShownProvider"][];
        };
        /**
         * PutBody
         * @description The JSON body of a PUT.
         */
        PutBody: {
            /** @default null */
            cost: string | null;
            /** @default [] */
            tags: string[];
            /** @description Seconds until the entry expires; at most the tenant's maximum. Left out of a new value: the tenant's default, 604800 unless it has set another. */
            ttl?: number;
            value: unknown;
        };
        /**
         * PutOperation
         * @description A PUT within a batch.
         */
        PutOperation: {
            /** @default null */
            cost: string | null;
            /** @description 1 to 512 bytes of UTF-8 without control characters. */
            key: string;
            /** @enum {unknown} */
            op: "put";
            /** @default [] */
            tags: string[];
            /** @description Seconds until the entry expires; at most the tenant's maximum. Left out of a new value: the tenant's default, 604800 unless it has set another. */
            ttl?: number;
            value: unknown;
        };
        /**
         * PutPrice
         * @description The body of a PUT. What is null is not priced by that; where all is null, the public price list's holds.
         */
        PutPrice: {
            /**
             * @description Null: as the other input.
             * @default null
             */
            cached_input_per_million: string | null;
            /** @default null */
            input_per_million: string | null;
            /** @default null */
            output_per_million: string | null;
            /** @default null */
            per_call: string | null;
            /** @default null */
            per_image: string | null;
            /**
             * @description Of the upstream's time.
             * @default null
             */
            per_second: string | null;
        };
        /**
         * PutProvider
         * @description The body of a PUT. But for the credential, what is left out is as if it had never been set.
         */
        PutProvider: {
            /** @default null */
            base_url: string | null;
            /** @default null */
            credential: string | null;
            /** @default null */
            credential_header: string | null;
            /**
             * @description Other providers of the same kind, tried in this order when it fails.
             * @default []
             */
            fallbacks: string[];
            /** @enum {unknown} */
            kind: "anthropic" | "openai" | "other";
            /** @default {} */
            policy: components["schemas"]["Policy"];
        };
        /**
         * PutWebhook
         * @description The body of a PUT: where the webhook is.
         */
        PutWebhook: {
            /** @description It begins with `https://`, and its host must lead to a public address. */
            url: string;
        };
        /**
         * RotateAPIKey
         * @description The body of a rotation.
         */
        RotateAPIKey: {
            /**
             * @description Seconds for which the former secret still works.
             * @default 86400
             */
            overlap: number;
        };
        /**
         * SentInvitation
         * @description An invitation whose mail was sent just now.
         */
        SentInvitation: {
            email: string;
            /** @description From then on it can be sent again, or withdrawn. */
            expires_at: string;
            id: string;
            /** @description A member's e-mail address; null: an API key, or who is gone. */
            invited_by: string | null;
            /** @description Whether the mail server took the mail; false: send it again later. */
            mailed: boolean;
            /** @enum {unknown} */
            role: "admin" | "billing" | "developer" | "viewer";
            /** @description RFC 3339, UTC. */
            sent_at: string;
        };
        /**
         * ShownAPIKey
         * @description An API key, without its secret. Limits that are null are the tenant's or the plan's; a credit limit of null is
         *         none.
         */
        ShownAPIKey: {
            /** @description From which alone it may be used; null: from everywhere. */
            allowed_networks: string[] | null;
            /** @description RFC 3339, UTC. */
            created_at: string;
            credit_limit: string | null;
            expires_at: string | null;
            /** @description How long the secret before the latest rotation still works. */
            former_secret_until: string | null;
            id: string;
            /** @description To the minute. */
            last_used_at: string | null;
            /** @description What the key is for. */
            name: string;
            /** @description How its tokens begin. */
            prefix: string;
            requests_per_minute: number | null;
            revoked_at: string | null;
            scopes: ("admin" | "delete" | "gateway" | "read" | "write")[];
            /** @description Bytes of the entries that it wrote. */
            storage_quota: number | null;
        };
        /**
         * ShownAuditEvent
         * @description Who did what.
         */
        ShownAuditEvent: {
            /** @description Such as `api_key.create`. */
            action: string;
            /** @description A member's e-mail address, `API key …`, or the operator. */
            actor: string;
            /** @description The IP address they came from. */
            address: string | null;
            /** @description RFC 3339, UTC. */
            at: string;
            details: Record<string, never>;
            id: string;
            target: string;
            /** @description The action in words. */
            what: string;
        };
        /**
         * ShownBudget
         * @description A hard limit on what is spent in a UTC day, and what the running day has used of it.
         */
        ShownBudget: {
            /** @description Of the budget: from there on the tenant is alerted, once a day. */
            alert_percent: number;
            /** @description Null: of all API keys together. */
            api_key_id: string | null;
            /** @description RFC 3339, UTC. */
            created_at: string;
            id: string;
            /** @description Null: of all models together. */
            model: string | null;
            /** @description RFC 3339, UTC. */
            resets_at: string;
            /** @description USD. */
            usd_per_day: string;
            /** @description Today, with the worst cases of calls under way. */
            used_usd: string;
        };
        /**
         * ShownInvitation
         * @description An open invitation. Its link is in the mail alone.
         */
        ShownInvitation: {
            email: string;
            /** @description From then on it can be sent again, or withdrawn. */
            expires_at: string;
            id: string;
            /** @description A member's e-mail address; null: an API key, or who is gone. */
            invited_by: string | null;
            /** @enum {unknown} */
            role: "admin" | "billing" | "developer" | "viewer";
            /** @description RFC 3339, UTC. */
            sent_at: string;
        };
        /**
         * ShownPrice
         * @description A tenant's own price of a model, in USD. Null: not priced by that.
         */
        ShownPrice: {
            cached_input_per_million: string | null;
            input_per_million: string | null;
            /** @description `-`: of calls that name no model. */
            model: string;
            output_per_million: string | null;
            per_call: string | null;
            per_image: string | null;
            per_second: string | null;
            provider: string;
            /** @description RFC 3339, UTC. */
            updated_at: string;
        };
        /**
         * ShownProvider
         * @description A provider of the tenant, with all of its policy.
         */
        ShownProvider: {
            /** @description Where its API is, without what clients' own paths begin with: https://api.openai.com for clients of …/gateway/openai/v1. */
            base_url: string;
            /** @description RFC 3339, UTC. */
            created_at: string;
            /** @description The header that takes the credential: `authorization` as `Bearer …`, any other as it is. */
            credential_header: string;
            fallbacks: string[];
            /** @description Without one, each request brings its own as X-Upstream-Authorization. */
            has_credential: boolean;
            /** @enum {unknown} */
            kind: "anthropic" | "openai" | "other";
            name: string;
            policy: components["schemas"]["Policy"];
            /** @description RFC 3339, UTC. */
            updated_at: string;
        };
        /**
         * ShownSettings
         * @description A tenant's settings. TTLs are in seconds; null: the service's.
         */
        ShownSettings: {
            alerts: components["schemas"]["AlertsShown"];
            default_ttl: number | null;
            max_ttl: number | null;
            name: string;
        };
        /**
         * ShownWebhook
         * @description The tenant's webhook.
         */
        ShownWebhook: {
            /** @description Null: there is none. */
            url: string | null;
        };
        /**
         * Spend
         * @description By day, then what cost most.
         */
        Spend: {
            by: ("cache" | "day" | "key" | "model" | "provider" | "user")[];
            /** @description In UTC. */
            from: string;
            spend: components["schemas"]["SpendRow"][];
            /** @description In UTC. */
            to: string;
            total: components["schemas"]["SpendTotal"];
        };
        /**
         * SpendPrompt
         * @description Requests with one fingerprint.
         */
        SpendPrompt: {
            cost_usd: string | null;
            fingerprint: string;
            hits: number;
            /** @description RFC 3339, UTC. */
            last_at: string;
            model: string;
            /** @description Its beginning, where the provider's policy keeps prompts. */
            prompt: string | null;
            provider: string;
            requests: number;
            saved_usd: string | null;
        };
        /**
         * SpendPrompts
         * @description The prompts that cost most.
         */
        SpendPrompts: {
            /** @description Whether these are all of the range; else the latest 100000. */
            complete: boolean;
            /** @description Duplicates of the requests with a fingerprint. */
            duplicate_rate: string | null;
            /** @description Of them: those whose fingerprint had occurred before. */
            duplicates: number;
            /** @description In UTC. */
            from: string;
            prompts: components["schemas"]["SpendPrompt"][];
            /** @description That were looked at. */
            requests: number;
            /** @description In UTC. */
            to: string;
        };
        /**
         * SpendRow
         * @description With what `by` asks for.
         */
        SpendRow: {
            api_key?: components["schemas"]["APIKeyName"];
            /** @enum {unknown} */
            cache?: "BYPASS" | "COALESCED" | "HIT" | "MISS" | "REFRESH";
            /** @description Of the input: from the provider's own cache. */
            cached_tokens: number;
            /** @description USD. */
            cost_usd: string;
            /** @description In UTC. */
            day?: string;
            /** @description Hits of requests. */
            hit_ratio: string | null;
            /** @description Of them: `HIT` and `COALESCED`. */
            hits: number;
            input_tokens: number;
            model?: string;
            output_tokens: number;
            provider?: string;
            /** @description Of the output. */
            reasoning_tokens: number;
            requests: number;
            /** @description USD. */
            saved_usd: string;
            /** @description Of them: those whose cost or saving nobody knows. It is in none of the sums. */
            unpriced: number;
            /** @description Of `X-Cache-User`, or the body's `user`. */
            user?: string;
        };
        /**
         * SpendTotal
         * @description Sums over requests to the gateway.
         */
        SpendTotal: {
            /** @description Of the input: from the provider's own cache. */
            cached_tokens: number;
            /** @description USD. */
            cost_usd: string;
            /** @description Hits of requests. */
            hit_ratio: string | null;
            /** @description Of them: `HIT` and `COALESCED`. */
            hits: number;
            input_tokens: number;
            output_tokens: number;
            /** @description Of the output. */
            reasoning_tokens: number;
            requests: number;
            /** @description USD. */
            saved_usd: string;
            /** @description Of them: those whose cost or saving nobody knows. It is in none of the sums. */
            unpriced: number;
        };
        /**
         * StoredEntry
         * @description What a PUT or PATCH answers.
         */
        StoredEntry: {
            /** @description RFC 3339, UTC. */
            created_at: string;
            /** @description RFC 3339, UTC. */
            expires_at: string;
            /** @description 1 to 512 bytes of UTF-8 without control characters. */
            key: string;
            /** @description Bytes of the value as sent. */
            size_bytes: number;
        };
        /**
         * TagUsage
         * @description Usage by period and tag.
         */
        TagUsage: {
            /** @enum {unknown} */
            by: "tag";
            /** @description RFC 3339, UTC. */
            from: string;
            /** @enum {unknown} */
            group_by: "day" | "hour" | "month";
            /** @description RFC 3339, UTC. */
            to: string;
            usage: components["schemas"]["TagUsageRow"][];
        };
        /**
         * TagUsageRow
         * @description Hits of entries with the tag. A hit counts for each tag of its entry.
         */
        TagUsageRow: {
            hits: number;
            /** @description USD. */
            saved_usd: string;
            /** @description RFC 3339, UTC. */
            start: string;
            tag: string;
        };
        /** TenantName */
        TenantName: {
            id: string;
            name: string;
        };
        /**
         * TenantStorage
         * @description Live storage of all API keys together.
         */
        TenantStorage: {
            /** @description What an invoice takes off the month. */
            free_bytes: number;
            /** @description Null: none. */
            quota_bytes: number | null;
            used_bytes: number;
        };
        /**
         * TestedWebhook
         * @description What became of a test.
         */
        TestedWebhook: {
            delivered: boolean;
            /** @description In words. */
            outcome: string;
        };
        /** TodaysPrices */
        TodaysPrices: {
            cache_hit_credits: string;
            /** @description USD. */
            credit_usd: string;
            /** @description USD. */
            storage_usd_per_gb_month: string;
        };
        /**
         * TopEntries
         * @description The live entries of most hits or savings, with their stats.
         */
        TopEntries: {
            /** @enum {unknown} */
            by: "hits" | "saved_usd";
            entries: components["schemas"]["ListedEntry"][];
        };
        /**
         * TTLs
         * @description The tenant's, for what is written or renewed from now on.
         */
        TTLs: {
            /** @description Of a PUT without a ttl. */
            default_seconds: number;
            max_seconds: number;
        };
        /**
         * UpdateAlerts
         * @description When and where to the tenant is told: what to change.
         */
        UpdateAlerts: {
            /** @description Where alerts go. None: to the owners, as far as their addresses are verified. */
            emails?: string[];
            low_balance?: string | null;
            month_credits?: string | null;
            /** @description Of a storage quota, the tenant's and each API key's: told from there. */
            storage_percent?: number;
        };
        /**
         * UpdateAPIKey
         * @description The body of a PATCH: what to change.
         */
        UpdateAPIKey: {
            allowed_networks?: string[] | null;
            credit_limit?: string | null;
            /** @description What the key is for. */
            name?: string;
            requests_per_minute?: number | null;
            storage_quota?: number | null;
        };
        /**
         * UpdateBudget
         * @description The body of a PATCH: what to change.
         */
        UpdateBudget: {
            /** @description Of the budget: from there on the tenant is alerted, once a day. */
            alert_percent?: number;
            /** @description USD: a decimal string. */
            usd_per_day?: string;
        };
        /**
         * UpdateMember
         * @description The body of a PATCH: what the member shall be.
         */
        UpdateMember: {
            /** @enum {unknown} */
            role: "admin" | "billing" | "developer" | "viewer";
        };
        /**
         * UpdateSettings
         * @description The body of a PATCH: what to change.
         */
        UpdateSettings: {
            alerts?: components["schemas"]["UpdateAlerts"];
            default_ttl?: number | null;
            max_ttl?: number | null;
            /** @description No other tenant has it. */
            name?: string;
        };
        /**
         * Usage
         * @description Usage by period, and with `by=api_key` by API key.
         */
        Usage: {
            /** @description Until when storage is counted. */
            as_of: string;
            by: "api_key" | null;
            /** @description RFC 3339, UTC. */
            from: string;
            /** @enum {unknown} */
            group_by: "day" | "hour" | "month";
            /** @description RFC 3339, UTC. */
            to: string;
            total: components["schemas"]["UsageTotal"];
            usage: components["schemas"]["UsageRow"][];
        };
        /**
         * UsageRow
         * @description What was used in a period.
         */
        UsageRow: {
            /** @description With `by=api_key`. */
            api_key?: components["schemas"]["APIKeyName"];
            /** @description Bytes over time; exact. */
            byte_seconds: string;
            /** @description Charged. */
            credits: string;
            /** @description Live entries deleted. */
            deletes: number;
            /** @description Duplicates of writes. */
            duplicate_rate: string | null;
            /** @description Of the writes, those over a live entry. */
            duplicates: number;
            /** @description The same in 10^9 bytes and the UTC month's real length. */
            gb_months: string;
            /** @description Hits of hits and misses. */
            hit_ratio: string | null;
            hits: number;
            misses: number;
            /** @description The cost of the entries that were hit. */
            saved_usd: string;
            /** @description RFC 3339, UTC. */
            start: string;
            /** @description Values stored. */
            writes: number;
        };
        /**
         * UsageTotal
         * @description What was used. A refund in a later hour than its hit can bring hits and credits below zero.
         */
        UsageTotal: {
            /** @description Bytes over time; exact. */
            byte_seconds: string;
            /** @description Charged. */
            credits: string;
            /** @description Live entries deleted. */
            deletes: number;
            /** @description Duplicates of writes. */
            duplicate_rate: string | null;
            /** @description Of the writes, those over a live entry. */
            duplicates: number;
            /** @description The same in 10^9 bytes and the UTC month's real length. */
            gb_months: string;
            /** @description Hits of hits and misses. */
            hit_ratio: string | null;
            hits: number;
            misses: number;
            /** @description The cost of the entries that were hit. */
            saved_usd: string;
            /** @description Values stored. */
            writes: number;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    get_account: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The account as of now. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Account"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    list_audit_events: {
        parameters: {
            query?: {
                /** @description A part of who did it. */
                actor?: string;
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                /** @description For links. */
                format?: "csv" | "json";
                /** @description A time, or a UTC day. */
                from?: string;
                /** @description What it is about. */
                group?: "api_keys" | "billing" | "entries" | "settings" | "sign_ins" | "team";
                limit?: number;
                /** @description The same; events at it are left out. */
                to?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AuditPage"];
                    "text/csv": string;
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    run_batch: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["BatchRequest"];
            };
        };
        responses: {
            /** @description A result for each operation, in order. */
            200: {
                headers: {
                    /** @description What the hits among the operations cost. */
                    "X-Credits-Charged"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["BatchAnswer"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `value_too_large` */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unsupported_media_type`: the message names the header to add. */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    list_budgets: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The budgets. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Budgets"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    create_budget: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["CreateBudget"];
            };
        };
        responses: {
            /** @description The budget. */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ShownBudget"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `conflict`: there is one already, or there are too many; nothing was changed. */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `value_too_large` */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unsupported_media_type`: the message names the header to add. */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    delete_budget: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Whether it was there. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["DeletedBudget"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    update_budget: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["UpdateBudget"];
            };
        };
        responses: {
            /** @description The budget as it is now. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ShownBudget"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `value_too_large` */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unsupported_media_type`: the message names the header to add. */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    list_entries: {
        parameters: {
            query?: {
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                /** @description `stats`: each entry's hits, last hit and what they saved. */
                include?: "stats";
                limit?: number;
                /** @description What the keys begin with. */
                prefix?: string;
                /** @description `gateway`: the answers that the gateway keeps. Their keys are hashes, so `prefix` is refused. */
                space?: "tenant" | "gateway";
                /** @description May repeat: all must match. */
                tag?: string[];
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Page"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    delete_entries: {
        parameters: {
            query?: {
                /** @description `true`, without a filter: all of the space. */
                all?: "true" | "false";
                /** @description Only with `space=gateway`: that answer. `X-Cache-Key` tells it, where the request named none itself. */
                key?: string;
                /** @description What the keys begin with. */
                prefix?: string;
                /** @description `gateway`: the answers that the gateway keeps. Their keys are hashes, so `prefix` is refused. */
                space?: "tenant" | "gateway";
                /** @description May repeat: all must match. */
                tag?: string[];
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description How many live entries were deleted. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["DeletedEntries"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    get_entry: {
        parameters: {
            query?: {
                /** @description On a miss, one caller gets a lease for so many seconds and shall fill the entry. */
                lease?: number;
                /** @description The bare value; a miss is then 404. */
                raw?: "true" | "false";
                /** @description With `lease`: how many seconds to wait while another caller fills the entry. */
                wait?: number;
            };
            header?: {
                /** @description An ETag: `304` when it is current. */
                "If-None-Match"?: string;
            };
            path: {
                /** @description 1 to 512 bytes of UTF-8 once percent-decoded; slashes allowed, control characters not. */
                key: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A hit or a miss; with `raw=true` the value. */
            200: {
                headers: {
                    /** @description The version. */
                    ETag?: string;
                    /** @description On a hit: what it cost. */
                    "X-Credits-Charged"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "*/*": string;
                    "application/json": components["schemas"]["CacheHit"] | components["schemas"]["CacheMiss"] | unknown;
                };
            };
            /** @description The ETag in If-None-Match is current. */
            304: {
                headers: {
                    /** @description On a hit: what it cost. */
                    "X-Credits-Charged"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `insufficient_credits` or `storage_quota_exceeded`: nothing was given, written or charged. */
            402: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    put_entry: {
        parameters: {
            query?: never;
            header?: {
                /** @description Only if the entry has this ETag (`*`: any); else 412. */
                "If-Match"?: string;
                /** @description `*`: create only; else 412. Not together with If-Match. */
                "If-None-Match"?: "*";
                /** @description Fill the entry with this lease. */
                "X-Cache-Lease"?: string;
            };
            path: {
                /** @description 1 to 512 bytes of UTF-8 once percent-decoded; slashes allowed, control characters not. */
                key: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["PutBody"];
                "application/octet-stream": string;
            };
        };
        responses: {
            /** @description Replaced. */
            200: {
                headers: {
                    /** @description The version. */
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["StoredEntry"];
                };
            };
            /** @description New. */
            201: {
                headers: {
                    /** @description The version. */
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["StoredEntry"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `insufficient_credits` or `storage_quota_exceeded`: nothing was given, written or charged. */
            402: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `lease_lost`: the lease has expired, was used or was voided; nothing was written. */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `precondition_failed`: If-Match or If-None-Match is not met; nothing was changed. */
            412: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `value_too_large` */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unsupported_media_type`: the message names the header to add. */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    delete_entry: {
        parameters: {
            query?: never;
            header?: {
                /** @description Only if the entry has this ETag (`*`: any); else 412. */
                "If-Match"?: string;
                /** @description Give this lease back; nothing is deleted. */
                "X-Cache-Lease"?: string;
            };
            path: {
                /** @description 1 to 512 bytes of UTF-8 once percent-decoded; slashes allowed, control characters not. */
                key: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Whether a live entry was there. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Deleted"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `precondition_failed`: If-Match or If-None-Match is not met; nothing was changed. */
            412: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    head_entry: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description 1 to 512 bytes of UTF-8 once percent-decoded; slashes allowed, control characters not. */
                key: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A hit or a miss; with `raw=true` the value. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description `insufficient_credits` or `storage_quota_exceeded`: nothing was given, written or charged. */
            402: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description No live entry. */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    patch_entry: {
        parameters: {
            query?: never;
            header?: {
                /** @description Only if the entry has this ETag (`*`: any); else 412. */
                "If-Match"?: string;
            };
            path: {
                /** @description 1 to 512 bytes of UTF-8 once percent-decoded; slashes allowed, control characters not. */
                key: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["PatchBody"];
            };
        };
        responses: {
            /** @description Renewed; the ETag stays. */
            200: {
                headers: {
                    /** @description The version. */
                    ETag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["StoredEntry"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `precondition_failed`: If-Match or If-None-Match is not met; nothing was changed. */
            412: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `value_too_large` */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unsupported_media_type`: the message names the header to add. */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    list_invitations: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The invitations. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Invitations"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    create_invitation: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["CreateInvitation"];
            };
        };
        responses: {
            /** @description The invitation. */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SentInvitation"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope, or no owner has verified their address yet. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `conflict`: they are a member or invited already, or there are too many invitations; nothing was changed. */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `value_too_large` */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unsupported_media_type`: the message names the header to add. */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    withdraw_invitation: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It was withdrawn. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["DeletedInvitation"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `conflict`: it was accepted meanwhile; nothing was changed. */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    send_invitation: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The invitation. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SentInvitation"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope, or no owner has verified their address yet. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `conflict`: it was sent just now; nothing was changed. */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    list_invoices: {
        parameters: {
            query?: {
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                limit?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["InvoiceList"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    get_invoice: {
        parameters: {
            query?: {
                /** @description For links, which set no Accept. */
                format?: "json" | "csv" | "pdf";
            };
            header?: never;
            path: {
                number: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The document. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["InvoiceDocument"];
                    "application/pdf": string;
                    "text/csv": string;
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    preview_invoice: {
        parameters: {
            query?: {
                /** @description For links, which set no Accept. */
                format?: "json" | "csv";
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description As of `as_of`. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["InvoicePreview"];
                    "text/csv": string;
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    list_api_keys: {
        parameters: {
            query?: {
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                limit?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["APIKeyPage"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    create_api_key: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["CreateAPIKey"];
            };
        };
        responses: {
            /** @description The API key and its token. */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["NewAPIKey"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `value_too_large` */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unsupported_media_type`: the message names the header to add. */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    get_api_key: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The API key. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ShownAPIKey"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    revoke_api_key: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The API key, with `revoked_at`. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ShownAPIKey"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    update_api_key: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["UpdateAPIKey"];
            };
        };
        responses: {
            /** @description The API key as it is now. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ShownAPIKey"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `value_too_large` */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unsupported_media_type`: the message names the header to add. */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    rotate_api_key: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["RotateAPIKey"];
            };
        };
        responses: {
            /** @description The API key and its new token, which is shown only now. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["NewAPIKey"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `value_too_large` */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unsupported_media_type`: the message names the header to add. */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    list_members: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The members. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Members"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    remove_member: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description They were removed. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["DeletedMember"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope, or it is about an owner. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `conflict`: they left meanwhile; nothing was changed. */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    update_member: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["UpdateMember"];
            };
        };
        responses: {
            /** @description The member as they are now. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Member"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope, or it is about an owner. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `conflict`: they left meanwhile; nothing was changed. */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `value_too_large` */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unsupported_media_type`: the message names the header to add. */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    list_prices: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The prices. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Prices"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    put_price: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description As clients name it. It may have slashes. `-`: of calls that name no model. */
                model: string;
                provider: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["PutPrice"];
            };
        };
        responses: {
            /** @description Replaced. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ShownPrice"];
                };
            };
            /** @description New. */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ShownPrice"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `conflict`: there is one already, or there are too many; nothing was changed. */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `value_too_large` */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unsupported_media_type`: the message names the header to add. */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    delete_price: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description As clients name it. It may have slashes. `-`: of calls that name no model. */
                model: string;
                provider: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Whether it was there. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["DeletedPrice"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    list_providers: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The providers, by name. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Providers"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    get_provider: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description As in the gateway's URLs: /gateway/<name>/… */
                name: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The provider. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ShownProvider"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    put_provider: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description As in the gateway's URLs: /gateway/<name>/… */
                name: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["PutProvider"];
            };
        };
        responses: {
            /** @description Replaced. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ShownProvider"];
                };
            };
            /** @description New. */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ShownProvider"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `value_too_large` */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unsupported_media_type`: the message names the header to add. */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    delete_provider: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description As in the gateway's URLs: /gateway/<name>/… */
                name: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Whether it was there. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["DeletedProvider"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    get_settings: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The settings. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ShownSettings"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    update_settings: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["UpdateSettings"];
            };
        };
        responses: {
            /** @description The settings as they are now. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ShownSettings"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `value_too_large` */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unsupported_media_type`: the message names the header to add. */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    get_spend: {
        parameters: {
            query?: {
                /** @description One, or two with a comma between them. */
                by?: "day" | "provider" | "model" | "user" | "key" | "cache" | "day,provider" | "day,model" | "day,user" | "day,key" | "day,cache" | "provider,day" | "provider,model" | "provider,user" | "provider,key" | "provider,cache" | "model,day" | "model,provider" | "model,user" | "model,key" | "model,cache" | "user,day" | "user,provider" | "user,model" | "user,key" | "user,cache" | "key,day" | "key,provider" | "key,model" | "key,user" | "key,cache" | "cache,day" | "cache,provider" | "cache,model" | "cache,user" | "cache,key";
                /** @description For links, which set no Accept. */
                format?: "json" | "csv";
                /** @description A UTC day. By default 30 days before `to`; at most 366 days. */
                from?: string;
                /** @description As `from`; not included. By default today is the last one. */
                to?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The report. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Spend"];
                    "text/csv": string;
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    get_spend_prompts: {
        parameters: {
            query?: {
                /** @description A UTC day. By default 30 days before `to`; at most 366 days. */
                from?: string;
                limit?: number;
                /** @description As `from`; not included. By default today is the last one. */
                to?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The prompts, the first one cost most. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SpendPrompts"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    get_usage: {
        parameters: {
            query?: {
                /** @description Rows by API key, or by tag (not by hour; counted within a minute). */
                by?: "api_key" | "tag";
                /** @description For links, which set no Accept. */
                format?: "json" | "csv";
                /** @description A UTC time or day that starts an hour, day or month, as `group_by` says. By default 24 hours, 30 days, 12 months before `to`; at most 31 days by hour, 366 days by day, 60 months by month. */
                from?: string;
                group_by?: "hour" | "day" | "month";
                /** @description As `from`; not included. By default the running period's end. */
                to?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The report. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Usage"] | components["schemas"]["TagUsage"];
                    "text/csv": string;
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    get_top_entries: {
        parameters: {
            query?: {
                by?: "hits" | "saved_usd";
                limit?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The entries, the first one most. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["TopEntries"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    get_webhook: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The webhook. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ShownWebhook"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    put_webhook: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["PutWebhook"];
            };
        };
        responses: {
            /** @description Another URL. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ShownWebhook"];
                };
            };
            /** @description New, with its secret. */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["NewWebhookSecret"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `value_too_large` */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unsupported_media_type`: the message names the header to add. */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    delete_webhook: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Whether it was there. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["DeletedWebhook"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    rotate_webhook_secret: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The webhook and its new secret, which is shown only now. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["NewWebhookSecret"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    test_webhook: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It was tried. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["TestedWebhook"];
                };
            };
            /** @description `invalid_request`: the message names the field, the limit and the fix. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `invalid_api_key`: missing, malformed, unknown, expired or revoked. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `forbidden`: the API key lacks the scope. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `not_found` */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `conflict`: at most 30 tests are sent an hour; nothing was changed. */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `rate_limit_exceeded`: try again after Retry-After seconds. */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `internal_error` */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description `unavailable`: try again after Retry-After seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
}
