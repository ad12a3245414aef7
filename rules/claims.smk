"""Tables for readers, and the verdicts on what the papers claim.

REQUIRED INPUTS: tidy tables (rules/figures.smk, rules/studies.smk)

OUTPUTS:
    results/{scale}/tables/{table}.md     a table for readers, in Markdown
    results/{scale}/tables/{table}.json   where it comes from
    results/{scale}/simulated/{figure}.json.gz   what other seeds might have given
    results/{scale}/claims.csv, .md       a row per claim: estimate, interval, verdict, rule, figure
    results/{scale}/claims_images.csv, .md       the same with the claims on images
"""


rule make_table:
    input:
        table=lambda w: SETUP.tables(w.table),
        facts=lambda w: facts(SETUP.config.scale, w.table),
    output:
        markdown=report(
            "results/{scale}/tables/{table}.md",
            caption="../docs/report/figure.rst",
            category="Tables for readers",
            labels={"table": "{table}", "scale": "{scale}"},
        ),
        sidecar="results/{scale}/tables/{table}.json",
    log:
        "logs/make_table/{scale}/{table}.log",
    benchmark:
        "benchmarks/runs/make_table/{scale}/{table}.tsv"
    localrule: True
    conda:
        "../envs/environment.yaml"
    params:
        module=lambda w: SETUP.room(w.table).drawing,
        caption=lambda w: SETUP.figure_caption(w.table),
        context=lambda w: SETUP.context(w.table),
        code=lambda w: SETUP.all_code(w.table),
    message:
        "Writing the table {wildcards.table}"
    shell:
        "python scripts/make_table.py --module {params.module} --table {input.table:q} "
        "--facts {input.facts:q} --context {params.context:q} --code {params.code:q} "
        "--markdown {output.markdown:q} "
        "--sidecar {output.sidecar:q} --log {log:q}"


rule simulate:
    input:
        table=lambda w: SETUP.tables(w.figure),
    output:
        simulated="results/{scale}/simulated/{figure}.json.gz",
    log:
        "logs/simulate/{scale}/{figure}.log",
    benchmark:
        "benchmarks/runs/simulate/{scale}/{figure}.tsv"
    conda:
        "../envs/environment.yaml"
    params:
        module=lambda w: SETUP.room(w.figure).drawing,
        context=lambda w: SETUP.context(w.figure),
        simulations=SETUP.config.simulations,
        code=lambda w: SETUP.drawing_code("simulate", w.figure),
    message:
        "Measuring what other seeds might have given {wildcards.figure}"
    shell:
        "python scripts/simulate.py --module {params.module} --table {input.table:q} "
        "--context {params.context:q} --simulations {params.simulations} "
        "--simulated {output.simulated:q} --log {log:q}"


rule judge_claims:
    input:
        facts=lambda w: SETUP.facts_of(w.claims),
        simulated=lambda w: SETUP.simulated_of(w.claims),
    output:
        claims=report(
            "results/{scale}/{claims}.csv",
            caption="../docs/report/claims.rst",
            category="Claims",
            labels={"table": "{claims}", "scale": "{scale}"},
        ),
        markdown="results/{scale}/{claims}.md",
    log:
        "logs/judge_claims/{scale}/{claims}.log",
    benchmark:
        "benchmarks/runs/judge_claims/{scale}/{claims}.tsv"
    localrule: True
    conda:
        "../envs/environment.yaml"
    params:
        sources=lambda w: SETUP.claim_sources(w.claims),
        code=lambda w: SETUP.claims_code(w.claims),
    message:
        "Judging the papers' claims"
    shell:
        "python scripts/judge_claims.py --facts {input.facts:q} --simulated {input.simulated:q} "
        "--sources {params.sources:q} --scale {wildcards.scale} "
        "--claims {output.claims:q} --markdown {output.markdown:q} --log {log:q}"


rule tables:
    input:
        expand(
            "results/{scale}/tables/{table}.md",
            scale=SETUP.config.scale,
            table=SETUP.reader_tables,
        ),


rule claims:
    input:
        f"results/{SETUP.config.scale}/claims.csv",


rule claims_images:
    input:
        f"results/{SETUP.config.scale}/claims_images.csv",
