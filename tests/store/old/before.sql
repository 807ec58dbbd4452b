BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE at_alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT at_alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "at_alembic_version" VALUES('v0002');
CREATE TABLE at_checkpoints (
	trial_id INTEGER NOT NULL, 
	epoch INTEGER NOT NULL, 
	uri TEXT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	bytes BIGINT NOT NULL, 
	conditions TEXT NOT NULL, 
	CONSTRAINT pk_at_checkpoints PRIMARY KEY (trial_id, epoch), 
	CONSTRAINT fk_at_checkpoints_trial_id FOREIGN KEY(trial_id) REFERENCES trials (trial_id) ON DELETE CASCADE
);
CREATE TABLE at_confirmations (
	trial_id INTEGER NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	run INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	result TEXT NOT NULL, 
	created FLOAT NOT NULL, 
	CONSTRAINT pk_at_confirmations PRIMARY KEY (trial_id, kind, run), 
	CONSTRAINT fk_at_confirmations_trial_id FOREIGN KEY(trial_id) REFERENCES trials (trial_id) ON DELETE CASCADE, 
	CONSTRAINT fk_at_confirmations_study_id FOREIGN KEY(study_id) REFERENCES studies (study_id) ON DELETE CASCADE
);
CREATE TABLE at_epochs (
	trial_id INTEGER NOT NULL, 
	epoch INTEGER NOT NULL, 
	result TEXT NOT NULL, 
	CONSTRAINT pk_at_epochs PRIMARY KEY (trial_id, epoch), 
	CONSTRAINT fk_at_epochs_trial_id FOREIGN KEY(trial_id) REFERENCES trials (trial_id) ON DELETE CASCADE
);
INSERT INTO "at_epochs" VALUES(1,0,'{"epoch":0,"train_loss":null,"validation_loss":0.05556871072836312,"accuracy":0.98,"balanced_accuracy":0.9800000000000001,"macro_f1":0.980195995355114,"learning_rate":0.0,"seconds":0.0967153670000016}');
INSERT INTO "at_epochs" VALUES(2,0,'{"epoch":0,"train_loss":null,"validation_loss":0.04429002323137926,"accuracy":0.98,"balanced_accuracy":0.9800000000000001,"macro_f1":0.980195995355114,"learning_rate":0.0,"seconds":0.06288794800002506}');
INSERT INTO "at_epochs" VALUES(3,1,'{"epoch":1,"train_loss":0.9026274085044861,"validation_loss":0.7754026102212443,"accuracy":0.795,"balanced_accuracy":0.7950000000000002,"macro_f1":0.7740447615447617,"learning_rate":0.000691341716182545,"seconds":0.3819630570000072}');
INSERT INTO "at_epochs" VALUES(3,2,'{"epoch":2,"train_loss":0.4757901728153229,"validation_loss":0.8701553778086865,"accuracy":0.795,"balanced_accuracy":0.795,"macro_f1":0.7574393139149993,"learning_rate":0.00003806023374435663,"seconds":0.2513097959999868}');
INSERT INTO "at_epochs" VALUES(4,1,'{"epoch":1,"train_loss":2.9972469806671143,"validation_loss":4.6588635246530625,"accuracy":0.65,"balanced_accuracy":0.65,"macro_f1":0.56067840572258,"learning_rate":0.000691341716182545,"seconds":0.5831803939998963}');
CREATE TABLE at_leases (
	trial_id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	worker VARCHAR(200) NOT NULL, 
	token VARCHAR(32) NOT NULL, 
	claimed FLOAT NOT NULL, 
	beat FLOAT NOT NULL, 
	suspected FLOAT, 
	epoch INTEGER, 
	restarted BOOLEAN NOT NULL, 
	CONSTRAINT pk_at_leases PRIMARY KEY (trial_id), 
	CONSTRAINT fk_at_leases_trial_id FOREIGN KEY(trial_id) REFERENCES trials (trial_id) ON DELETE CASCADE, 
	CONSTRAINT fk_at_leases_study_id FOREIGN KEY(study_id) REFERENCES studies (study_id) ON DELETE CASCADE, 
	CONSTRAINT uq_at_leases_token UNIQUE (token)
);
CREATE TABLE at_profiles (
	study_id INTEGER NOT NULL, 
	source VARCHAR(300) NOT NULL, 
	result TEXT NOT NULL, 
	CONSTRAINT pk_at_profiles PRIMARY KEY (study_id, source), 
	CONSTRAINT fk_at_profiles_study_id FOREIGN KEY(study_id) REFERENCES studies (study_id) ON DELETE CASCADE
);
INSERT INTO "at_profiles" VALUES(1,'efficientnet-lite0','{"source":"efficientnet-lite0","normalise":"source","images":200,"seconds":2.6898350230001142,"cuts":[{"cut":1,"grid":1,"features":32,"loo_accuracy":0.675,"loo_nll":1.0881165246234932,"ridge_lambda":0.01,"truncation":1,"taps":1,"resolution_scale":1.0},{"cut":1,"grid":2,"features":128,"loo_accuracy":0.885,"loo_nll":0.40156697677171416,"ridge_lambda":0.1,"truncation":1,"taps":1,"resolution_scale":1.0},{"cut":1,"grid":4,"features":512,"loo_accuracy":0.93,"loo_nll":0.2540569057885721,"ridge_lambda":0.1,"truncation":1,"taps":1,"resolution_scale":1.0},{"cut":2,"grid":1,"features":16,"loo_accuracy":0.71,"loo_nll":1.0783846929221421,"ridge_lambda":0.00031622776601683794,"truncation":2,"taps":1,"resolution_scale":1.0},{"cut":2,"grid":2,"features":64,"loo_accuracy":0.905,"loo_nll":0.35100134417707424,"ridge_lambda":0.1,"truncation":2,"taps":1,"resolution_scale":1.0},{"cut":2,"grid":4,"features":256,"loo_accuracy":0.93,"loo_nll":0.2663887769187942,"ridge_lambda":0.1,"truncation":2,"taps":1,"resolution_scale":1.0},{"cut":3,"grid":1,"features":24,"loo_accuracy":0.815,"loo_nll":0.6027474299352914,"ridge_lambda":0.01,"truncation":3,"taps":1,"resolution_scale":1.0},{"cut":3,"grid":2,"features":96,"loo_accuracy":0.935,"loo_nll":0.1623257754833295,"ridge_lambda":0.31622776601683794,"truncation":3,"taps":1,"resolution_scale":1.0},{"cut":3,"grid":4,"features":384,"loo_accuracy":0.955,"loo_nll":0.12016991799016666,"ridge_lambda":0.1,"truncation":3,"taps":1,"resolution_scale":1.0},{"cut":4,"grid":1,"features":40,"loo_accuracy":0.905,"loo_nll":0.3693024307525688,"ridge_lambda":0.1,"truncation":null,"taps":1,"resolution_scale":1.0},{"cut":4,"grid":2,"features":160,"loo_accuracy":0.965,"loo_nll":0.12347511649270103,"ridge_lambda":0.31622776601683794,"truncation":null,"taps":1,"resolution_scale":1.0},{"cut":4,"grid":4,"features":640,"loo_accuracy":0.97,"loo_nll":0.0820181893240055,"ridge_lambda":0.1,"truncation":null,"taps":1,"resolution_scale":1.0},{"cut":5,"grid":1,"features":80,"loo_accuracy":0.955,"loo_nll":0.14833752373747927,"ridge_lambda":0.1,"truncation":4,"taps":1,"resolution_scale":1.0},{"cut":5,"grid":2,"features":320,"loo_accuracy":0.965,"loo_nll":0.12664868818907973,"ridge_lambda":0.31622776601683794,"truncation":4,"taps":1,"resolution_scale":1.0},{"cut":6,"grid":1,"features":112,"loo_accuracy":0.955,"loo_nll":0.1742960203152547,"ridge_lambda":0.1,"truncation":5,"taps":1,"resolution_scale":1.0},{"cut":6,"grid":2,"features":448,"loo_accuracy":0.97,"loo_nll":0.11229375823868176,"ridge_lambda":0.31622776601683794,"truncation":5,"taps":1,"resolution_scale":1.0},{"cut":7,"grid":1,"features":192,"loo_accuracy":0.9,"loo_nll":0.28745477134917286,"ridge_lambda":0.1,"truncation":6,"taps":1,"resolution_scale":1.0},{"cut":8,"grid":1,"features":320,"loo_accuracy":0.85,"loo_nll":0.4496705890964642,"ridge_lambda":0.1,"truncation":7,"taps":1,"resolution_scale":1.0},{"cut":9,"grid":1,"features":1280,"loo_accuracy":0.73,"loo_nll":0.880083385378123,"ridge_lambda":0.1,"truncation":8,"taps":1,"resolution_scale":1.0},{"cut":1,"grid":1,"features":32,"loo_accuracy":0.68,"loo_nll":0.9813481949679241,"ridge_lambda":0.0031622776601683794,"truncation":1,"taps":1,"resolution_scale":2.0},{"cut":1,"grid":2,"features":128,"loo_accuracy":0.9,"loo_nll":0.3775764171139486,"ridge_lambda":0.03162277660168379,"truncation":1,"taps":1,"resolution_scale":2.0},{"cut":1,"grid":4,"features":512,"loo_accuracy":0.915,"loo_nll":0.31407816992483945,"ridge_lambda":0.1,"truncation":1,"taps":1,"resolution_scale":2.0},{"cut":2,"grid":1,"features":16,"loo_accuracy":0.66,"loo_nll":1.1173765760268453,"ridge_lambda":0.0001,"truncation":2,"taps":1,"resolution_scale":2.0},{"cut":2,"grid":2,"features":64,"loo_accuracy":0.905,"loo_nll":0.3648307514077148,"ridge_lambda":0.03162277660168379,"truncation":2,"taps":1,"resolution_scale":2.0},{"cut":2,"grid":4,"features":256,"loo_accuracy":0.925,"loo_nll":0.27789354394642585,"ridge_lambda":0.1,"truncation":2,"taps":1,"resolution_scale":2.0},{"cut":3,"grid":1,"features":24,"loo_accuracy":0.815,"loo_nll":0.6324716364848624,"ridge_lambda":0.0031622776601683794,"truncation":3,"taps":1,"resolution_scale":2.0},{"cut":3,"grid":2,"features":96,"loo_accuracy":0.96,"loo_nll":0.16111457640667465,"ridge_lambda":0.1,"truncation":3,"taps":1,"resolution_scale":2.0},{"cut":3,"grid":4,"features":384,"loo_accuracy":0.955,"loo_nll":0.13488100126596628,"ridge_lambda":0.1,"truncation":3,"taps":1,"resolution_scale":2.0},{"cut":4,"grid":1,"features":40,"loo_accuracy":0.825,"loo_nll":0.5955426680639307,"ridge_lambda":0.1,"truncation":null,"taps":1,"resolution_scale":2.0},{"cut":4,"grid":2,"features":160,"loo_accuracy":0.945,"loo_nll":0.17642960973034946,"ridge_lambda":0.31622776601683794,"truncation":null,"taps":1,"resolution_scale":2.0},{"cut":4,"grid":4,"features":640,"loo_accuracy":0.97,"loo_nll":0.09105591383334265,"ridge_lambda":0.1,"truncation":null,"taps":1,"resolution_scale":2.0},{"cut":5,"grid":1,"features":80,"loo_accuracy":0.915,"loo_nll":0.2969869977634908,"ridge_lambda":0.31622776601683794,"truncation":4,"taps":1,"resolution_scale":2.0},{"cut":5,"grid":2,"features":320,"loo_accuracy":0.945,"loo_nll":0.15952883945437832,"ridge_lambda":0.31622776601683794,"truncation":4,"taps":1,"resolution_scale":2.0},{"cut":5,"grid":4,"features":1280,"loo_accuracy":0.965,"loo_nll":0.11550737978317552,"ridge_lambda":0.31622776601683794,"truncation":4,"taps":1,"resolution_scale":2.0},{"cut":6,"grid":1,"features":112,"loo_accuracy":0.92,"loo_nll":0.20621612574265336,"ridge_lambda":0.1,"truncation":5,"taps":1,"resolution_scale":2.0},{"cut":6,"grid":2,"features":448,"loo_accuracy":0.965,"loo_nll":0.13169528684280798,"ridge_lambda":0.1,"truncation":5,"taps":1,"resolution_scale":2.0},{"cut":6,"grid":4,"features":1792,"loo_accuracy":0.97,"loo_nll":0.1133258042098958,"ridge_lambda":0.03162277660168379,"truncation":5,"taps":1,"resolution_scale":2.0},{"cut":7,"grid":1,"features":192,"loo_accuracy":0.91,"loo_nll":0.2841469248130436,"ridge_lambda":0.1,"truncation":6,"taps":1,"resolution_scale":2.0},{"cut":7,"grid":2,"features":768,"loo_accuracy":0.96,"loo_nll":0.1258686624579789,"ridge_lambda":0.1,"truncation":6,"taps":1,"resolution_scale":2.0},{"cut":8,"grid":1,"features":320,"loo_accuracy":0.88,"loo_nll":0.4055557274685909,"ridge_lambda":0.1,"truncation":7,"taps":1,"resolution_scale":2.0},{"cut":8,"grid":2,"features":1280,"loo_accuracy":0.905,"loo_nll":0.34015736998311297,"ridge_lambda":0.03162277660168379,"truncation":7,"taps":1,"resolution_scale":2.0},{"cut":9,"grid":1,"features":1280,"loo_accuracy":0.855,"loo_nll":0.5016564566794901,"ridge_lambda":0.1,"truncation":8,"taps":1,"resolution_scale":2.0}],"joint":[{"cut":5,"grid":4,"features":1344,"loo_accuracy":0.985,"loo_nll":0.07387498873171204,"ridge_lambda":0.1,"truncation":4,"taps":3,"resolution_scale":1.0},{"cut":5,"grid":4,"features":960,"loo_accuracy":0.975,"loo_nll":0.0747534667548301,"ridge_lambda":0.1,"truncation":4,"taps":2,"resolution_scale":1.0},{"cut":5,"grid":4,"features":1600,"loo_accuracy":0.98,"loo_nll":0.07621457928029114,"ridge_lambda":0.1,"truncation":4,"taps":4,"resolution_scale":1.0},{"cut":6,"grid":4,"features":1792,"loo_accuracy":0.98,"loo_nll":0.07948839894634224,"ridge_lambda":0.1,"truncation":5,"taps":4,"resolution_scale":1.0},{"cut":6,"grid":4,"features":1408,"loo_accuracy":0.975,"loo_nll":0.07996444123684751,"ridge_lambda":0.1,"truncation":5,"taps":3,"resolution_scale":1.0}],"best":{"cut":5,"grid":4,"features":1344,"loo_accuracy":0.985,"loo_nll":0.07387498873171262,"ridge_lambda":0.1,"truncation":4,"taps":3,"resolution_scale":1.0},"left_out":[]}');
CREATE TABLE at_sightings (
	trial_id INTEGER NOT NULL, 
	first_seen FLOAT NOT NULL, 
	CONSTRAINT pk_at_sightings PRIMARY KEY (trial_id), 
	CONSTRAINT fk_at_sightings_trial_id FOREIGN KEY(trial_id) REFERENCES trials (trial_id) ON DELETE CASCADE
);
CREATE TABLE at_studies (
	study_id INTEGER NOT NULL, 
	spec TEXT NOT NULL, 
	task TEXT NOT NULL, 
	artifact_url TEXT NOT NULL, 
	sources TEXT NOT NULL, 
	created FLOAT NOT NULL, 
	CONSTRAINT pk_at_studies PRIMARY KEY (study_id), 
	CONSTRAINT fk_at_studies_study_id FOREIGN KEY(study_id) REFERENCES studies (study_id) ON DELETE CASCADE
);
INSERT INTO "at_studies" VALUES(1,'{"name":"before","task":{"dataset":"digits?per_class=20","resolution":null,"channels":null,"splits":{"train":0.6,"validation":0.2,"test":0.2},"group_from":null,"on_bad_image":"refuse","seed":0,"metric":"accuracy"},"search":{"trials":4,"minutes":null,"max_epochs":2,"sampler":"tpe","startup_trials":2,"pruner":"asha","min_epochs":1,"reduction_factor":3,"max_attempts":3,"seed":0,"profile":true,"default_first":true,"confirm":0,"confirm_runs":4},"space":{"truncation":[3,5],"tune_mode":["head","suffix"],"learning_rate":[0.001,0.01]}}','{"name":"digits?per_class=20","fingerprint":"9e105b84a5395d9adde1d778ed83e84ab1deb088e0a39821416bacabce4a3faa","classes":["0","1","2","3","4","5","6","7","8","9"],"splits":{"train":200,"validation":200,"test":359},"channels":1,"resolution":32,"channel_mean":[0.31375714231004903],"channel_std":[0.3490761446684237],"metric":"accuracy"}','ARTIFACTS','{"efficientnet-lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"}',1.79564591571001410481e+09);
CREATE TABLE at_trials (
	trial_id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	root INTEGER NOT NULL, 
	parent INTEGER, 
	attempt INTEGER NOT NULL, 
	strategy TEXT NOT NULL, 
	label VARCHAR(64) NOT NULL, 
	once VARCHAR(200), 
	created_by VARCHAR(32) NOT NULL, 
	closed_by VARCHAR(32), 
	worker VARCHAR(200), 
	stop TEXT, 
	outcome TEXT, 
	restarts INTEGER NOT NULL, 
	CONSTRAINT pk_at_trials PRIMARY KEY (trial_id), 
	CONSTRAINT uq_at_trials_study_id_once UNIQUE (study_id, once), 
	CONSTRAINT fk_at_trials_trial_id FOREIGN KEY(trial_id) REFERENCES trials (trial_id) ON DELETE CASCADE, 
	CONSTRAINT fk_at_trials_study_id FOREIGN KEY(study_id) REFERENCES studies (study_id) ON DELETE CASCADE, 
	CONSTRAINT uq_at_trials_parent UNIQUE (parent), 
	CONSTRAINT uq_at_trials_created_by UNIQUE (created_by)
);
INSERT INTO "at_trials" VALUES(1,1,0,NULL,0,'{"source":"efficientnet-lite0","truncation":4,"pool":4,"taps":3,"resolution_scale":1.0,"transfer_depth":8,"tune_mode":"closed_form","freeze_depth":4,"rest_init":"he_normal","head_init":"ridge","ridge_lambda":0.1,"weight_scale":1.0,"shrink":1.0,"perturb":0.01,"optimizer":"adamw","learning_rate":0.0001,"momentum":0.9,"head_lr_mult":1.0,"layer_decay":0.75,"schedule":"cosine","warmup":0.1,"weight_decay":0.0001,"clip":0.0,"anchor":"none","anchor_weight":0.01,"norm_policy":"frozen","label_smoothing":0.0,"class_weights":false,"normalise":"source","batch":64,"augmentation":"none","views":8}','profile','first:profile','ef13ad3121b94b73bf69d6d2b83ec06a','90e105d81cd94b07a0a9bf5683c6cc5c','vm.effffffc/8476-1795645905/728eb55c','{"kind":"completed","detail":""}','{"parameters":266858,"trained_parameters":0,"predict_ms_per_image":0.4813804374990127,"train_seconds":0.3360290130000294,"best_epoch":0,"identical":true,"weights_sha256":"475819fa777d8b4ef1781d4dd346a4cb8983232fdb80264f0aa5eff56d2028ac","conditions":{"threads":1,"dtype":"float32","batch":64,"accumulate":1,"stored":false,"prefix":"norms folded, float32","device":"cpu","cpu":"AVX512","torch":"2.14.1+cu130"}}',0);
INSERT INTO "at_trials" VALUES(2,1,1,NULL,0,'{"source":"efficientnet-lite0","truncation":4,"pool":4,"taps":3,"resolution_scale":1.0,"transfer_depth":8,"tune_mode":"closed_form","freeze_depth":4,"rest_init":"he_normal","head_init":"ridge","ridge_lambda":0.03,"weight_scale":1.0,"shrink":1.0,"perturb":0.01,"optimizer":"adamw","learning_rate":0.0001,"momentum":0.9,"head_lr_mult":1.0,"layer_decay":0.75,"schedule":"cosine","warmup":0.1,"weight_decay":0.0001,"clip":0.0,"anchor":"none","anchor_weight":0.01,"norm_policy":"frozen","label_smoothing":0.0,"class_weights":false,"normalise":"source","batch":64,"augmentation":"affine","views":16}','profile, augmented views','first:views','e237ba8636184bd5bff5777f0cc9e1a9','787131b67e274a5db01eabda59e92ee0','vm.effffffc/8476-1795645905/728eb55c','{"kind":"completed","detail":""}','{"parameters":266858,"trained_parameters":0,"predict_ms_per_image":0.4751573125005848,"train_seconds":1.9696480610000435,"best_epoch":0,"identical":true,"weights_sha256":"177dcd1b199d18214ebfa8e7afc5d70a1aea634f494e439ef83bfd4d8b474ad0","conditions":{"threads":1,"dtype":"float32","batch":64,"accumulate":1,"stored":false,"prefix":"norms folded, float32","device":"cpu","cpu":"AVX512","torch":"2.14.1+cu130"}}',0);
INSERT INTO "at_trials" VALUES(3,1,2,NULL,0,'{"source":"efficientnet-lite0","truncation":4,"pool":1,"taps":3,"resolution_scale":1.0,"transfer_depth":8,"tune_mode":"suffix","freeze_depth":4,"rest_init":"he_normal","head_init":"ridge","ridge_lambda":1.0,"weight_scale":1.0,"shrink":1.0,"perturb":0.01,"optimizer":"adamw","learning_rate":0.001,"momentum":0.9,"head_lr_mult":1.0,"layer_decay":0.75,"schedule":"cosine","warmup":0.1,"weight_decay":0.0001,"clip":0.0,"anchor":"none","anchor_weight":0.01,"norm_policy":"frozen","label_smoothing":0.0,"class_weights":false,"normalise":"source","batch":64,"augmentation":"none","views":8}','profile, tuned','first:tuned','e49835d64d294c89b6e6d07bd6619182','f5696f3a721c4520b38f50aa678b8102','vm.effffffc/8476-1795645905/728eb55c','{"kind":"completed","detail":""}','{"parameters":254858,"trained_parameters":232666,"predict_ms_per_image":0.6254959374984992,"train_seconds":3.1842893880000247,"best_epoch":1,"identical":true,"weights_sha256":"4ea1d3559b8827e62433c041c1f14ca90ed3ef154f993182fe1f5820dbc27394","conditions":{"threads":1,"dtype":"float32","batch":64,"accumulate":1,"stored":true,"prefix":"norms folded, float32","device":"cpu","cpu":"AVX512","torch":"2.14.1+cu130"}}',0);
INSERT INTO "at_trials" VALUES(4,1,3,NULL,0,'{"source":"efficientnet-lite0","truncation":5,"pool":1,"taps":1,"resolution_scale":1.0,"transfer_depth":8,"tune_mode":"suffix","freeze_depth":4,"rest_init":"he_normal","head_init":"ridge","ridge_lambda":1.0,"weight_scale":1.0,"shrink":1.0,"perturb":0.01,"optimizer":"adamw","learning_rate":0.001,"momentum":0.9,"head_lr_mult":1.0,"layer_decay":0.75,"schedule":"cosine","warmup":0.1,"weight_decay":0.0001,"clip":0.0,"anchor":"none","anchor_weight":0.01,"norm_policy":"frozen","label_smoothing":0.0,"class_weights":false,"normalise":"source","batch":64,"augmentation":"none","views":8}','default','first:default','f420789389be49088fbf7379074ceee9','8c494d54af7e4a43a82d5a42bcdd4717','vm.effffffc/8476-1795645905/728eb55c','{"kind":"pruned","detail":"by asha after epoch 1"}','{"parameters":701322,"trained_parameters":671162,"predict_ms_per_image":0.0,"train_seconds":0.6732600440000169,"best_epoch":1,"identical":true,"weights_sha256":null,"conditions":{"threads":1,"dtype":"float32","batch":64,"accumulate":1,"stored":true,"prefix":"norms folded, float32","device":"cpu","cpu":"AVX512","torch":"2.14.1+cu130"}}',0);
INSERT INTO "at_trials" VALUES(5,1,4,NULL,0,'{"source":"efficientnet-lite0","truncation":4,"pool":1,"taps":1,"resolution_scale":1.0,"transfer_depth":8,"tune_mode":"head","freeze_depth":4,"rest_init":"he_normal","head_init":"he","ridge_lambda":1.0,"weight_scale":1.0,"shrink":1.0,"perturb":0.01,"optimizer":"adamw","learning_rate":0.005,"momentum":0.9,"head_lr_mult":1.0,"layer_decay":0.75,"schedule":"cosine","warmup":0.1,"weight_decay":0.0001,"clip":0.0,"anchor":"none","anchor_weight":0.01,"norm_policy":"frozen","label_smoothing":0.0,"class_weights":false,"normalise":"source","batch":64,"augmentation":"affine","views":3}','by hand','by hand','ee41e86843664214b121e9041b36063c',NULL,NULL,NULL,NULL,0);
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'before');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_system_attributes" VALUES(4,1,'study:metric_names','["validation accuracy"]');
INSERT INTO "study_system_attributes" VALUES(5,1,'dashboard:note_ver','2');
INSERT INTO "study_system_attributes" VALUES(6,1,'dashboard:note_str:0','"## The answer: trial 1\n\nValidation accuracy **98.00%** of 200 images (accuracy 95.0 to 99.5%, 95% interval).\n\n> efficientnet\\-lite0, cut after 4/8 of its groups, top 3 outputs pooled 4x4, all transferred, nothing trained, ridge head \\(lambda 0.03\\), 16 affine views\n\n| # | set | trial | accuracy | training | weights | strategy |\n|--:|:--|--:|--:|--:|--:|:--|\n| 1 | a | 1 | 98.00% | 2.0 s | 266.9 k | efficientnet\\-lite0, cut after 4/8 of its groups, top 3 outputs pooled 4x4, all transferred, nothing trained, ridge head \\(lambda 0.03\\), 16 affine views |\n| 2 | a | 0 | 98.00% | 0.3 s | 266.9 k | efficientnet\\-lite0, cut after 4/8 of its groups, top 3 outputs pooled 4x4, all transferred, nothing trained, ridge head \\(lambda 0.1\\) |\n| 3 |  | 2 | 79.50% | 3.2 s | 254.9 k | efficientnet\\-lite0, cut after 4/8 of its groups, top 3 outputs pooled 1x1, all transferred, 4/8 of it frozen, ridge head \\(lambda 1\\), adamw 0.001 cosine |\n\n2 strategies (set a) cannot be told apart from the best on these 200 images, with 5% error over all comparisons.\n\n4 strategies of a budget of 4: 3 complete, 1 pruned (trials).\n\nThe score picked the best one, so expect less on new images. The search never looks at the test split. More: the figures on the study''s first page, the plan and the curve of each trial among its artifacts, and `automl-transfer report before`.\n\n*automl-transfer writes this note while the study runs, until a person edits it.*\n"');
INSERT INTO "study_system_attributes" VALUES(7,1,'automl_transfer:published','{"time": 1795645928.412983, "note_version": 2}');
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,0,0.98,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,2,0,0.98,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,3,1,0.795,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,3,2,0.795,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,4,1,0.65,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'truncation',4.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 3, "high": 5}}');
INSERT INTO "trial_params" VALUES(2,2,'truncation',4.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 3, "high": 5}}');
INSERT INTO "trial_params" VALUES(3,3,'truncation',4.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 3, "high": 5}}');
INSERT INTO "trial_params" VALUES(4,3,'tune_mode',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["head", "suffix"]}}');
INSERT INTO "trial_params" VALUES(5,3,'learning_rate',0.001,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.001, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(6,4,'truncation',5.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 3, "high": 5}}');
INSERT INTO "trial_params" VALUES(7,4,'tune_mode',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["head", "suffix"]}}');
INSERT INTO "trial_params" VALUES(8,4,'learning_rate',0.001,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.001, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(9,5,'truncation',4.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 3, "high": 5}}');
INSERT INTO "trial_params" VALUES(10,5,'tune_mode',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["head", "suffix"]}}');
INSERT INTO "trial_params" VALUES(11,5,'learning_rate',0.005,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.001, "high": 0.01, "log": true}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_system_attributes" VALUES(1,1,'artifacts:104fc64a-0bff-44f6-b978-4cdd68b6cccc','"{\"artifact_id\": \"104fc64a-0bff-44f6-b978-4cdd68b6cccc\", \"filename\": \"plan.png\", \"mimetype\": \"image/png\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(2,1,'artifacts:4a5e7986-d548-458b-964d-120c50a8e0d6','"{\"artifact_id\": \"4a5e7986-d548-458b-964d-120c50a8e0d6\", \"filename\": \"curve.png\", \"mimetype\": \"image/png\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(3,2,'artifacts:ec159710-fd89-4a3f-b4a5-dfdff1e75a04','"{\"artifact_id\": \"ec159710-fd89-4a3f-b4a5-dfdff1e75a04\", \"filename\": \"plan.png\", \"mimetype\": \"image/png\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(4,2,'artifacts:6377017b-8a7f-43de-aa79-4b6c3f1207d1','"{\"artifact_id\": \"6377017b-8a7f-43de-aa79-4b6c3f1207d1\", \"filename\": \"curve.png\", \"mimetype\": \"image/png\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(5,3,'completed_rung_0','0.795');
INSERT INTO "trial_system_attributes" VALUES(6,3,'artifacts:e8103666-3293-4a61-a990-503d96e0f062','"{\"artifact_id\": \"e8103666-3293-4a61-a990-503d96e0f062\", \"filename\": \"plan.png\", \"mimetype\": \"image/png\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(7,3,'artifacts:b47919dc-4b8b-4f97-bd1f-0fa622c3f542','"{\"artifact_id\": \"b47919dc-4b8b-4f97-bd1f-0fa622c3f542\", \"filename\": \"curve.png\", \"mimetype\": \"image/png\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(8,4,'completed_rung_0','0.65');
INSERT INTO "trial_system_attributes" VALUES(9,4,'artifacts:6d6d0339-0793-4607-8681-7f2024225a3b','"{\"artifact_id\": \"6d6d0339-0793-4607-8681-7f2024225a3b\", \"filename\": \"plan.png\", \"mimetype\": \"image/png\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(10,4,'artifacts:2f3f7236-0524-4646-81be-ee552020ddf0','"{\"artifact_id\": \"2f3f7236-0524-4646-81be-ee552020ddf0\", \"filename\": \"curve.png\", \"mimetype\": \"image/png\", \"encoding\": null}"');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'strategy','"efficientnet-lite0, cut after 4/8 of its groups, top 3 outputs pooled 4x4, all transferred, nothing trained, ridge head (lambda 0.1)"');
INSERT INTO "trial_user_attributes" VALUES(2,1,'stop','"completed"');
INSERT INTO "trial_user_attributes" VALUES(3,1,'seconds','0.34');
INSERT INTO "trial_user_attributes" VALUES(4,2,'strategy','"efficientnet-lite0, cut after 4/8 of its groups, top 3 outputs pooled 4x4, all transferred, nothing trained, ridge head (lambda 0.03), 16 affine views"');
INSERT INTO "trial_user_attributes" VALUES(5,3,'strategy','"efficientnet-lite0, cut after 4/8 of its groups, top 3 outputs pooled 1x1, all transferred, 4/8 of it frozen, ridge head (lambda 1), adamw 0.001 cosine"');
INSERT INTO "trial_user_attributes" VALUES(6,4,'strategy','"efficientnet-lite0, cut after 5/8 of its groups, pooled 1x1, all transferred, 4/8 of it frozen, ridge head (lambda 1), adamw 0.001 cosine"');
INSERT INTO "trial_user_attributes" VALUES(7,2,'stop','"completed"');
INSERT INTO "trial_user_attributes" VALUES(8,2,'seconds','1.97');
INSERT INTO "trial_user_attributes" VALUES(9,3,'stop','"completed"');
INSERT INTO "trial_user_attributes" VALUES(10,3,'seconds','3.18');
INSERT INTO "trial_user_attributes" VALUES(11,4,'stop','"pruned: by asha after epoch 1"');
INSERT INTO "trial_user_attributes" VALUES(12,4,'seconds','0.67');
INSERT INTO "trial_user_attributes" VALUES(13,5,'strategy','"efficientnet-lite0, cut after 4/8 of its groups, pooled 1x1, all transferred, head trained, he head, adamw 0.005 cosine, 3 affine views"');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,0.98,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,0.98,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,0.795,'FINITE');
INSERT INTO "trial_values" VALUES(4,4,0,0.65,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-25 22:31:57.070000','2026-11-25 22:31:57.498000');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-25 22:31:59.613000','2026-11-25 22:32:01.635000');
INSERT INTO "trials" VALUES(3,2,1,'COMPLETE','2026-11-25 22:32:01.636000','2026-11-25 22:32:04.900000');
INSERT INTO "trials" VALUES(4,3,1,'PRUNED','2026-11-25 22:32:04.903000','2026-11-25 22:32:05.654000');
INSERT INTO "trials" VALUES(5,4,1,'WAITING',NULL,NULL);
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
CREATE INDEX ix_at_trials_study_id ON at_trials (study_id);
CREATE INDEX ix_at_leases_study_id ON at_leases (study_id);
CREATE INDEX ix_at_confirmations_study_id ON at_confirmations (study_id);
CREATE TRIGGER at_trial_deleted AFTER DELETE ON trials BEGIN DELETE FROM at_trials WHERE trial_id = OLD.trial_id; DELETE FROM at_epochs WHERE trial_id = OLD.trial_id; DELETE FROM at_leases WHERE trial_id = OLD.trial_id; DELETE FROM at_checkpoints WHERE trial_id = OLD.trial_id; DELETE FROM at_sightings WHERE trial_id = OLD.trial_id; END;
CREATE TRIGGER at_study_deleted AFTER DELETE ON studies BEGIN DELETE FROM at_studies WHERE study_id = OLD.study_id; END;
CREATE TRIGGER at_confirmations_deleted AFTER DELETE ON trials BEGIN DELETE FROM at_confirmations WHERE trial_id = OLD.trial_id; END;
CREATE TRIGGER at_profiles_deleted AFTER DELETE ON studies BEGIN DELETE FROM at_profiles WHERE study_id = OLD.study_id; END;
COMMIT;
